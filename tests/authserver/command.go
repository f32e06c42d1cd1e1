package authserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/grantd/grantd/tests/process"
)

// command says how a server is started, or what to do where it cannot be.
func command(kind Kind) (*exec.Cmd, error) {
	servers, err := serversDir()
	if err != nil {
		return nil, err
	}
	if err := process.DependsOn(servers); err != nil {
		return nil, err
	}
	if kind != OIDCProvider {
		cmd := exec.Command("go", "run", "./"+string(kind))
		cmd.Dir = filepath.Join(servers, "go")
		return cmd, nil
	}
	dir := filepath.Join(servers, string(kind))
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("%s needs Node.js 20 or newer and npm: install them (.ci/run does), then run make deps: %w", kind, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not installed: run make deps, or npm ci in %s", kind, dir)
	}
	cmd := exec.Command(node, "server.mjs")
	cmd.Dir = dir
	return cmd, nil
}

// serversDir finds tests/servers from anywhere in the module.
func serversDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		servers := filepath.Join(dir, "tests", "servers")
		if _, err := os.Stat(filepath.Join(servers, "README.md")); err == nil {
			return servers, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no folder above has tests/servers: run the test inside grantd's checkout")
		}
		dir = parent
	}
}
