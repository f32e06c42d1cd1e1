package node

import (
	"fmt"
	"os"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/internal/config"
)

// catalogue is what is built in with the operator's own folder laid over it;
// empty: there is none. Errors name file, line and field.
func catalogue(dir string) (*catalog.Catalog, error) {
	c, err := catalog.Load()
	if err != nil || dir == "" {
		return c, err
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("catalog.dir: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("catalog.dir: %s is not a folder; it is one of files *.yaml, each a provider", dir)
	}
	if c, err = c.Over(os.DirFS(dir), "."); err != nil {
		return nil, fmt.Errorf("catalog.dir %s: %w", dir, err)
	}
	return c, nil
}

// CheckCatalog says what is wrong with the operator's own folder of providers.
func CheckCatalog(c config.Config) error {
	_, err := catalogue(c.Catalog.Dir)
	return err
}
