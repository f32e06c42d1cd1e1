package config

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// GossipKeys reads a file of gossip keys: one a line, base64; empty lines and
// those that begin with # are passed over. Its errors name the line and never
// the key.
func GossipKeys(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	lines := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
			return nil, fmt.Errorf("%s, line %d: is not base64 of 16, 24 or 32 bytes; make one with: openssl rand -base64 32", path, number)
		}
		keys = append(keys, key)
	}
	switch {
	case lines.Err() != nil:
		return nil, fmt.Errorf("%s: %w", path, lines.Err())
	case len(keys) == 0:
		return nil, fmt.Errorf("%s: holds no key; make one with: openssl rand -base64 32", path)
	}
	return keys, nil
}
