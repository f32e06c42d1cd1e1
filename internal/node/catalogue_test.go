package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/internal/config"
)

func TestTheOperatorsFolderIsReadAtTheStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("slack.yaml", "id: slack\nextends: slack\naccess_token_lifetime_seconds: 60\n")
	var c config.Config
	c.Catalog.Dir = dir
	if err := CheckCatalog(c); err != nil {
		t.Fatal(err)
	}
	all, err := catalogue(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := all.Get("slack"); p.Origin != catalog.Folder || p.AccessTokenLifetime.Seconds() != 60 || p.TokenURL == "" {
		t.Errorf("%+v", p)
	}
	w := wireProvider(mustGet(t, all, "slack"))
	if w.Origin != "folder" || w.Extends != "slack" || w.AccessTokenLifetime != 60 {
		t.Errorf("shown as %+v", w)
	}
	write("other.yaml", "id: other\nname: Other\ntoken_url: ftp://x\n")
	if err := CheckCatalog(c); err == nil || !strings.Contains(err.Error(), "other.yaml:3: token_url: ") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v should name folder, file, line and field", err)
	}
	for _, wrong := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "slack.yaml")} {
		c.Catalog.Dir = wrong
		if err := CheckCatalog(c); err == nil || !strings.Contains(err.Error(), "catalog.dir") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func mustGet(t *testing.T, c *catalog.Catalog, id string) catalog.Provider {
	t.Helper()
	p, ok := c.Get(id)
	if !ok {
		t.Fatal(id)
	}
	return p
}

func TestEveryProviderIsShownWhole(t *testing.T) {
	c, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.List() {
		if w := wireProvider(p); w.Origin != "builtin" || w.TokenURL != p.TokenURL || len(w.Sources) == 0 {
			t.Errorf("%s is shown as %+v", p.ID, w)
		}
	}
}
