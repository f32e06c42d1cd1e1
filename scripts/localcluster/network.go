package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// table is the nftables table of our cuts; there is nothing else in it.
const table = "grantd_cluster"

// nft runs the commands, all or none.
func nft(commands string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(commands)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft: %w %s(cutting needs root, and Debian's package nftables)", err, out.String())
	}
	return nil
}

// cut drops whatever goes to or comes from a node's own address. Its API, on
// 127.0.0.1, goes on.
func (c *cluster) cut(n *member) error { return nft(cutRules(n.Host)) }

func cutRules(host string) string {
	return fmt.Sprintf(`add table ip %[1]s
add chain ip %[1]s input { type filter hook input priority 0; }
add rule ip %[1]s input ip saddr %[2]s ip daddr != %[2]s drop
add rule ip %[1]s input ip daddr %[2]s ip saddr != %[2]s drop
`, table, host)
}

// heal mends all cuts and lets paused nodes go on.
func (c *cluster) heal() error {
	var errs []error
	for _, n := range c.Nodes {
		if c.runs(n) {
			errs = append(errs, n.signal(syscall.SIGCONT))
		}
	}
	if _, err := exec.LookPath("nft"); err == nil && exec.Command("nft", "list", "table", "ip", table).Run() == nil {
		errs = append(errs, nft("delete table ip "+table+"\n"))
	}
	return errors.Join(errs...)
}
