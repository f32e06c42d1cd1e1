package main

import (
	"context"
	"fmt"
	"os/exec"
)

// certificates makes what nodes prove themselves with, and on the first call
// the authority and the gossip key.
func (c *cluster) certificates(ctx context.Context, nodes []*member) error {
	args := []string{"run", "./scripts/certs", "--dir", c.path("certs"), "node"}
	for _, n := range nodes {
		args = append(args, n.Name)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("certificates: %w\n%s", err, out)
	}
	return nil
}
