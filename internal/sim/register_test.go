package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

// history makes a case out of operations and answers, each as long as it takes
// to write it down, a second apart. Began 0 is filled in.
func history(parts ...any) *caseReport {
	c := &caseReport{report: &report{Evidence: &Evidence{Lag: 500 * time.Millisecond}}, Case: &Case{Kind: credential.KindOAuth2}}
	at := func(i int) time.Time { return time.Unix(int64(i), 0) }
	for i, p := range parts {
		began, ended := int64(10*i+1), int64(10*i+2)
		switch p := p.(type) {
		case Op:
			p.Began, p.Ended, p.From, p.At = began, ended, at(i), at(i)
			c.Book.Ops = append(c.Book.Ops, p)
		case Told:
			if p.From.IsZero() {
				p.From = at(i)
			}
			p.Began, p.Ended, p.At = began, ended, at(i)
			c.Book.Told = append(c.Book.Told, p)
		}
	}
	c.linearizable()
	return c
}

func TestRegisterJudgesHistories(t *testing.T) {
	imported := func(g uint64, secret string) Op {
		return Op{Kind: OpImport, Acked: true, Generation: g, Secret: secret}
	}
	unheard, void := Op{Kind: OpImport, Secret: "u"}, Op{Kind: OpImport, Secret: "v", Void: true}
	gone, unheardGone := Op{Kind: OpDisconnect, Acked: true, Generation: 2}, Op{Kind: OpDisconnect}
	told := func(g uint64, token string) Told { return Told{Generation: g, Token: token} }
	dead, disconnected, absent := Told{Dead: true}, Told{Gone: true}, Told{Absent: true}
	for name, tc := range map[string]struct {
		parts []any
		legal bool
	}{
		"it grows":                                    {[]any{absent, imported(1, "a"), told(1, "a"), told(2, "b"), told(2, "b"), told(5, "c")}, true},
		"it goes back":                                {[]any{imported(1, "a"), told(2, "b"), told(1, "a")}, false},
		"an answer is older than the lag":             {[]any{imported(1, "a"), told(2, "b"), Told{Generation: 1, Token: "a", From: time.Unix(1, 0).Add(501 * time.Millisecond)}}, false},
		"an answer is as old as the lag":              {[]any{imported(1, "a"), told(2, "b"), Told{Generation: 1, Token: "a", From: time.Unix(1, 0).Add(500 * time.Millisecond)}}, true},
		"a replica's answer is old":                   {[]any{imported(1, "a"), told(2, "b"), Told{Generation: 1, Token: "a", Replica: true}}, true},
		"two tokens of one generation":                {[]any{imported(1, "a"), told(1, "b")}, false},
		"an import that does not grow":                {[]any{imported(1, "a"), told(3, "c"), imported(3, "d")}, false},
		"an import is lost":                           {[]any{imported(1, "a"), imported(2, "b"), told(1, "a")}, false},
		"dead by itself, alive by an import":          {[]any{imported(1, "a"), dead, imported(2, "b"), told(2, "b")}, true},
		"alive by itself":                             {[]any{imported(1, "a"), dead, told(2, "b")}, false},
		"disconnected by itself":                      {[]any{imported(1, "a"), disconnected}, false},
		"disconnected, and its token is handed out":   {[]any{imported(2, "a"), gone, told(2, "a")}, false},
		"disconnected, and imported again":            {[]any{imported(2, "a"), gone, disconnected, imported(3, "b"), told(3, "b")}, true},
		"gone without a trace":                        {[]any{imported(1, "a"), absent}, false},
		"an unheard import is done late":              {[]any{imported(1, "a"), unheard, told(1, "a"), told(2, "u")}, true},
		"an unheard import is never done":             {[]any{imported(1, "a"), unheard, told(1, "a"), told(1, "a")}, true},
		"an unheard import revives":                   {[]any{imported(1, "a"), unheard, dead, told(2, "u")}, true},
		"an import that was refused is done":          {[]any{imported(1, "a"), dead, void, told(2, "v")}, false},
		"an unheard disconnection is done late":       {[]any{imported(1, "a"), unheardGone, told(1, "a"), disconnected}, true},
		"an unheard disconnection is done and undone": {[]any{imported(1, "a"), unheardGone, disconnected, told(1, "a")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := history(tc.parts...)
			if legal := len(c.problems) == 0; legal != tc.legal {
				t.Errorf("legal: %v; %s", legal, strings.Join(c.problems, "\n"))
			}
		})
	}
}
