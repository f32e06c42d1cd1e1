package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGossipKeysNameTheLineAndNeverTheKey(t *testing.T) {
	const good, other, short = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "AAECAwQFBgcICQoLDA0ODw==", "c2VjcmV0"
	for name, tc := range map[string]struct {
		text string
		keys int
		want string
	}{
		"one":      {good + "\n", 1, ""},
		"rotation": {"# new\n" + other + "\n\n# old\n" + good, 2, ""},
		"empty":    {"# nothing\n", 0, "holds no key"},
		"short":    {good + "\n" + short + "\n", 0, "line 2: is not base64 of 16, 24 or 32 bytes"},
		"no text":  {"\xff\xfe", 0, "line 1"},
		"long":     {strings.Repeat("A", 70000), 0, "token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gossip.key")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			keys, err := GossipKeys(path)
			switch {
			case tc.want == "" && (err != nil || len(keys) != tc.keys):
				t.Errorf("%d keys, %v", len(keys), err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q in it", err, tc.want)
			case err != nil && (strings.Contains(err.Error(), short) || strings.Contains(err.Error(), good)):
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	if _, err := GossipKeys(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there gave keys")
	}
}
