package credential

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNoFormatterShowsASecret(t *testing.T) {
	s := NewSecret("hunter2")
	hidden := struct {
		Name   string
		inside Secret
		Shown  *Secret
		List   []Secret
		Map    map[string]Secret
	}{"x", s, &s, []Secret{s}, map[string]Secret{"k": s}}
	var out bytes.Buffer
	for _, v := range []any{s, &s, hidden, &hidden, []any{s}, Import{Secret: s, RefreshToken: s}, Token{Secret: s}, Grant{AccessToken: s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%08.3f", "%T %v"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	if b, err := xml.Marshal(s); err == nil {
		out.Write(b)
	}
	fmt.Fprintln(&out, fmt.Errorf("wrapped: %v, %w", s, errors.Join(fmt.Errorf("%v", hidden))))
	for _, form := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2"), "104 117 110"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%q shows in:\n%s", form, out.String())
		}
	}
	if !strings.Contains(out.String(), Redacted) {
		t.Error("nothing was redacted; the test looks at nothing")
	}
}

func TestSecretIsWhatWasPutIn(t *testing.T) {
	a, b := NewSecret("hunter2"), NewSecret("hunter2")
	if a.Reveal() != "hunter2" || a.IsZero() || !a.Equal(b) || a.Equal(NewSecret("hunter3")) || a.Equal(Secret{}) {
		t.Error("a secret is not itself")
	}
	if !NewSecret("").IsZero() || !(Secret{}).Equal(NewSecret("")) || (Secret{}).Reveal() != "" {
		t.Error("the empty secret is not empty")
	}
}

func TestNamesThatAreSafeEverywhere(t *testing.T) {
	for _, good := range []string{"a", "A9", "acme-corp", "user@example.com", "01J8:x_y.z+1", strings.Repeat("a", MaxNameLen)} {
		if err := CheckName("tenant", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "-a", "~system", "a/b", "a b", "a\x00", "a%2f", "ä", "a\n", strings.Repeat("a", MaxNameLen+1), "*"} {
		if err := CheckName("tenant", bad); !errors.Is(err, ErrBadName) || !strings.Contains(err.Error(), "tenant") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseRefNeverAcceptsWhatDoesNotPrintBack(f *testing.F) {
	for _, s := range []string{"acme/crm", "/", "a/b/c", "acme/", "/crm", "a//b", "\x00/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRef(s); err == nil && r.String() != s {
			t.Errorf("%q reads as %q", s, r)
		}
	})
}

func TestCloneSharesNothing(t *testing.T) {
	a := Account{Scopes: []string{"x"}, AccessToken: Sealed{1}, RefreshToken: Sealed{2}, Claim: &Claim{Attempt: "a"}}
	b := a.Clone()
	b.Scopes[0], b.AccessToken[0], b.RefreshToken[0], b.Claim.Attempt = "y", 9, 9, "b"
	if a.Scopes[0] != "x" || a.AccessToken[0] != 1 || a.RefreshToken[0] != 2 || a.Claim.Attempt != "a" {
		t.Errorf("the original changed: %+v", a)
	}
}
