package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// TestEverySentinelHasARow reads the source of package credential: a sentinel
// that is added there without a row here would be answered as an internal error.
func TestEverySentinelHasARow(t *testing.T) {
	rows := map[string]error{
		"ErrNotFound": credential.ErrNotFound, "ErrNeedsReauth": credential.ErrNeedsReauth, "ErrDisconnected": credential.ErrDisconnected,
		"ErrExists": credential.ErrExists, "ErrProviderUnavailable": credential.ErrProviderUnavailable,
		"ErrMisconfigured": credential.ErrMisconfigured, "ErrNoQuorum": credential.ErrNoQuorum, "ErrNotOwner": credential.ErrNotOwner,
		"ErrOverloaded": credential.ErrOverloaded, "ErrConflict": credential.ErrConflict, "ErrUnknownOutcome": credential.ErrUnknownOutcome,
		"ErrOtherIdentity": credential.ErrOtherIdentity,
		"ErrSealed":        credential.ErrSealed, "ErrInvalid": credential.ErrInvalid, "ErrBadName": credential.ErrBadName,
	}
	names := sentinelNames(t, "../credential")
	if len(names) < len(rows) {
		t.Fatalf("found only %v in package credential", names)
	}
	for _, name := range names {
		err, known := rows[name]
		if !known {
			t.Errorf("credential.%s is new: give it a row in sentinels, and here", name)
			continue
		}
		if p := problemOf(fmt.Errorf("somewhere: %w", err)); p.code == wire.CodeInternal {
			t.Errorf("credential.%s is answered as an internal error", name)
		}
	}
}

func sentinelNames(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, obj := range f.Scope.Objects {
			if obj.Kind == ast.Var && strings.HasPrefix(name, "Err") {
				names = append(names, name)
			}
		}
	}
	return names
}

func TestErrorsAreAnsweredByTheTable(t *testing.T) {
	dead := &credential.Unavailable{Err: credential.ErrNeedsReauth, Reason: "invalid_grant", RetryAfter: time.Minute}
	away := &credential.Unavailable{Err: credential.ErrProviderUnavailable, Reason: "timeout", RetryAfter: 1500 * time.Millisecond}
	for _, c := range []struct {
		err    error
		status int
		code   wire.Code
		reason string
		retry  string
	}{
		{credential.ErrNotFound, 404, "not_found", "", ""},
		{dead, 409, "needs_reauth", "invalid_grant", ""},
		{credential.ErrDisconnected, 409, "disconnected", "", ""},
		{credential.ErrExists, 409, "account_exists", "", ""},
		{credential.ErrOtherIdentity, 409, "other_identity", "", ""},
		{fmt.Errorf("wrapped: %w", away), 503, "provider_unavailable", "timeout", "2"},
		{credential.ErrProviderUnavailable, 503, "provider_unavailable", "", "5"},
		{credential.ErrMisconfigured, 503, "misconfigured", "", "60"},
		{credential.ErrNoQuorum, 503, "no_quorum", "", "1"},
		{credential.ErrNotOwner, 503, "no_quorum", "", "1"},
		{&credential.Unavailable{Err: credential.ErrOverloaded, RetryAfter: time.Nanosecond}, 503, "overloaded", "", "1"},
		{credential.ErrUnknownOutcome, 503, "unknown_outcome", "", "1"},
		{credential.ErrConflict, 409, "conflict", "", ""},
		{credential.ErrSealed, 500, "unreadable_secret", "", ""},
		{context.DeadlineExceeded, 503, "timeout", "", "1"},
		{errors.Join(credential.CheckName("tenant", "a b"), credential.CheckName("id", "")), 400, "invalid_request", "", ""},
		{&credential.Unavailable{Err: credential.ErrInvalid, Reason: "token_url is missing"}, 400, "invalid_request", "", ""},
		{errors.New("surprise"), 500, "internal", "", ""},
	} {
		rec := httptest.NewRecorder()
		problemOf(c.err).write(rec)
		var got wire.Problem
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s: %v", c.err, rec.Body, err)
		}
		if rec.Code != c.status || got.Status != c.status || got.Code != c.code || got.Reason != c.reason || rec.Header().Get("Retry-After") != c.retry {
			t.Errorf("%v became %d %+v, Retry-After %q", c.err, rec.Code, got, rec.Header().Get("Retry-After"))
		}
		if rec.Header().Get("Content-Type") != "application/problem+json" || got.Title == "" || got.Detail == "" || got.Type == "" {
			t.Errorf("%v: not a whole problem document: %s", c.err, rec.Body)
		}
		if strings.Contains(got.Detail, "\n") {
			t.Errorf("%v: the detail has several lines: %q", c.err, got.Detail)
		}
		if strings.Contains(rec.Body.String(), "surprise") {
			t.Errorf("an internal error is told to the caller: %s", rec.Body)
		}
	}
}

func TestRetryAfterIsWholeSecondsWithinADay(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", 90 * time.Second: "90", 1 << 62: "86400",
	} {
		if got := retrySeconds(d); got != want {
			t.Errorf("%s became %s, want %s", d, got, want)
		}
	}
}
