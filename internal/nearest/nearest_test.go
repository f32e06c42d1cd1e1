package nearest

import (
	"strings"
	"testing"
)

func TestSlipsFindTheirName(t *testing.T) {
	known := []string{"token_url", "listen", "ab", "revocation_url"}
	for given, want := range map[string]string{
		"token_url": "token_url", "tokenurl": "token_url", "tokne_url": "token_url", "lisen": "listen", "listens": "listen",
		"": "", "x": "", "xy": "", "nothing_like_it": "", strings.Repeat("a", 100_000): "", "ax": "ab",
	} {
		if got := Name(given, known); got != want {
			t.Errorf("%.20q: %q, want %q", given, got, want)
		}
	}
}

func FuzzDistanceIsSymmetric(f *testing.F) {
	f.Add("kitten", "sitten")
	f.Add("", "ab")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 100 || len(b) > 100 {
			t.Skip()
		}
		if distance(a, b) != distance(b, a) || (distance(a, b) == 0) != (a == b) {
			t.Errorf("%q, %q: %d and %d", a, b, distance(a, b), distance(b, a))
		}
	})
}
