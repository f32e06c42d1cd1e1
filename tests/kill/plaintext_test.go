package kill

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// windowBytes of a secret are searched for, its last: compression may have
// taken the beginning, which many tokens share, elsewhere.
const windowBytes = 12

// window is what is left of a secret for the search.
type window [windowBytes]byte

// needles searches for any of many secrets in one pass.
type needles struct {
	first []bool // by the first three bytes: whether any window begins so
	names map[window]string
}

// newNeedles takes secrets in, by what they are.
func newNeedles(secrets map[string][]string) needles {
	n := needles{first: make([]bool, 1<<24), names: map[window]string{}}
	for what, texts := range secrets {
		for i, text := range texts {
			if len(text) < windowBytes {
				continue // the empty refresh token
			}
			w := window([]byte(text)[len(text)-windowBytes:])
			n.first[start(w[:])] = true
			n.names[w] = fmt.Sprintf("%s %d", what, i)
		}
	}
	return n
}

func start(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// in returns what it finds, each once, at most a few.
func (n needles) in(b []byte) []string {
	var found []string
	seen := map[window]bool{}
	for ; len(b) >= windowBytes && len(found) < 10; b = b[1:] {
		if !n.first[start(b)] {
			continue
		}
		w := window(b[:windowBytes])
		if name, ok := n.names[w]; ok && !seen[w] {
			seen[w] = true
			found = append(found, name)
		}
	}
	return found
}

// checkTree searches all files below dir, and wants all of the controls, which
// are not secret, to be found there: what does not find them finds nothing.
func (n needles) checkTree(t *testing.T, dir string, controls ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, c := range controls {
		missing[c] = true
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, name := range n.in(b) {
			t.Errorf("I6: %s stands in plaintext in %s", name, d.Name())
		}
		for c := range missing {
			if bytes.Contains(b, []byte(c)) {
				delete(missing, c)
			}
		}
		return nil
	})
	must(t, err)
	for c := range missing {
		t.Errorf("%q, which is stored as it is, was not found below %s: the search is blind", c, dir)
	}
}

func TestSearchFindsEverySecretWhereverItStands(t *testing.T) {
	n := newNeedles(map[string][]string{"token": {"strict_a_first-of-the-tokens", "strict_r_second-token-of-all"}, "key": {"", "gk_0123456789abcdef"}})
	for _, tc := range []struct {
		text string
		want int
	}{
		{"", 0},
		{"strict_a_", 0},
		{"strict_a_first-of-the-tokens", 1},
		{"...gk_0123456789abcdef", 1},
		{"gk_0123456789abcdeg strict_r_second-token-of-al", 0},
		{"strict_r_second-token-of-all strict_a_first-of-the-tokens strict_r_second-token-of-all 0123456789abcdef", 3},
		{"{\x00\x01\xfferst\x05first-of-the-tokens\x00", 1},
	} {
		if got := n.in([]byte(tc.text)); len(got) != tc.want {
			t.Errorf("in %q it found %q, want %d", tc.text, got, tc.want)
		}
	}
}
