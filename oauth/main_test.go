package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// roleVariable names what this test program is to be, started by a test, for
// promises about the process itself.
const roleVariable = "OAUTH_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "asking" {
		if err := askAll(os.Args[1], os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const clientSecret = "s3cr3t-of-the-client"

// registration is a confidential client at a provider with the given address.
func registration(base string) Registration {
	return Registration{
		Provider: &catalog.Provider{
			ID: "p", Name: "P", TokenURL: base + "/token", RevocationURL: base + "/revoke", IntrospectionURL: base + "/introspect",
		},
		ClientID:     "the-client",
		ClientSecret: credential.NewSecret(clientSecret),
	}
}

// roundTrip is a function as a http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// failure wants err to be a *credential.Failure.
func failure(t testing.TB, err error) *credential.Failure {
	t.Helper()
	var f *credential.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a *credential.Failure", err)
	}
	return f
}

// wantFailure compares class, code and whether it may have been sent.
func wantFailure(t testing.TB, err error, class credential.Class, code string, sent bool) *credential.Failure {
	t.Helper()
	f := failure(t, err)
	if f.Class != class || f.Code != code || f.Sent != sent {
		t.Fatalf("got %v (sent: %v), want %s: %s (sent: %v)", f, f.Sent, class, code, sent)
	}
	return f
}

// deadlineIn returns a context that ends before the test is given up.
func deadlineIn(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
