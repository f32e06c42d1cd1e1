package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/internal/config"
	"github.com/grantd/grantd/wire"
)

// devFlags are the flags of dev.
type devFlags struct {
	data, listen, demoListen, adminKey, logLevel string
	noDemo                                       bool
}

func devCommand() command {
	var o devFlags
	return command{
		name:  "dev",
		short: "run one node on this machine, with a demo provider, to try grantd out",
		long: `Creates its keys on the first start. The environment overrides the node's
configuration as it does for serve, flags override the environment.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.data, "data", devDataDir, "`folder` of the store and the keys")
			fs.StringVar(&o.listen, "listen", defaultAddr, "`address` of the API and the dashboard")
			fs.StringVar(&o.demoListen, "demo-listen", defaultDemoAddr, "`address` of the demo provider; keep it on this machine, it lets everybody in")
			fs.BoolVar(&o.noDemo, "no-demo", false, "leave the demo provider out")
			fs.StringVar(&o.adminKey, "admin-key", "", "use this admin API `key` and keep it in the folder (default: the one kept there, else a new one)")
			fs.StringVar(&o.logLevel, "log-level", "warn", "`level` of the log: debug, info, warn or error")
		},
		run: func(ctx context.Context, in *input) error {
			return unlessStopped(ctx, dev(ctx, in, o, startNode))
		},
	}
}

// dev runs the node and the demo provider until ctx ends.
func dev(ctx context.Context, in *input, o devFlags, start nodeStarter) (err error) {
	c, warnings, err := devConfig(in, o)
	if err != nil {
		return err
	}
	logger := newLogger(in.Stderr, c.Log)
	for _, w := range warnings {
		logger.Warn(w)
	}
	var d *demo
	var demoEnded <-chan error
	if !o.noDemo {
		if d, err = startDemo(ctx, o.demoListen, logger); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		demoEnded = d.ended
		c.Outgoing.Allow = append(c.Outgoing.Allow, d.addr)
	}
	key, undoKey, err := ensureAdminKey(c.Auth.AdminKeyFile, wire.Secret(o.adminKey))
	if err != nil {
		return err
	}
	n, err := start(ctx, c, logger)
	if err != nil {
		return errors.Join(listenHint(err, c.HTTP.Listen, "--listen"), undoKey())
	}
	defer func() { err = errors.Join(err, stop(ctx, n, c.HTTP.ShutdownTimeout)) }()
	addr := reachable(n.Addr())
	if d != nil {
		if err := registerDemo(ctx, d, addr, key); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprint(in.Stdout, devWelcome(in.Program, addr, c, d)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.Failed():
		return err
	case err := <-demoEnded:
		d.ended <- nil // close waits for an end
		return fmt.Errorf("the demo provider stopped: %w", err)
	}
}

func registerDemo(ctx context.Context, d *demo, addr string, key wire.Secret) error {
	c, err := client.New("http://"+addr, key, client.Options{UserAgent: userAgent})
	if err != nil {
		return err
	}
	return d.register(ctx, c)
}

// devConfig is the configuration of dev: its own defaults, then the
// environment, then the flags that were given.
func devConfig(in *input, o devFlags) (config.Config, []string, error) {
	base := config.Default()
	base.Node.DataDir, base.HTTP.Listen, base.Log.Level = devDataDir, defaultAddr, "warn"
	c, warnings, err := base.WithEnviron(in.Environ, commandLineVariables())
	if err != nil {
		return c, nil, err
	}
	for name, override := range map[string]func(){
		"data":      func() { c.Node.DataDir = o.data },
		"listen":    func() { c.HTTP.Listen = o.listen },
		"log-level": func() { c.Log.Level = o.logLevel },
	} {
		if in.set[name] {
			override()
		}
	}
	if c.HTTP.TLS.Enabled() {
		return c, nil, errors.New("grantd dev speaks plain HTTP on this machine; for http.tls run grantd serve")
	}
	c = c.Complete()
	return c, append(warnings, c.Warnings()...), c.Validate()
}

// devWelcome is what dev prints: where everything is, and what to try next.
func devWelcome(program, addr string, c config.Config, d *demo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "grantd is running.\n\n")
	fmt.Fprintf(&b, "  Dashboard      http://%s/ui/\n", addr)
	fmt.Fprintf(&b, "  Admin API key  in %s\n", c.Auth.AdminKeyFile)
	next := []string{"providers list", "keys list"}
	if d != nil {
		fmt.Fprintf(&b, "  Demo provider  %s (integration %s, account %s/%s)\n", d.issuer(), demoIntegration, demoTenant, demoUser)
		next = []string{"herd", "token " + demoTenant + "/" + demoUser}
		if d.addr != defaultDemoAddr {
			next[0] += " --provider " + d.issuer()
		}
	}
	fmt.Fprintf(&b, "\nTry next, in a second terminal:\n\n")
	for _, command := range next {
		fmt.Fprintf(&b, "  %s%s %s%s\n", keyPrefix(c), program, command, addrFlag(addr))
	}
	fmt.Fprintf(&b, "\nCtrl-C ends it.\n")
	return b.String()
}

// keyPrefix hands the key to a command that would not find it by itself.
func keyPrefix(c config.Config) string {
	if filepath.Clean(c.Auth.AdminKeyFile) == filepath.Join(devDataDir, adminKeyName) {
		return ""
	}
	return fmt.Sprintf("%s=$(cat %s) ", envKey, shellQuote(c.Auth.AdminKeyFile))
}

// reachable is where this machine reaches a listener: one on all addresses
// calls itself by none of them.
func reachable(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().IsUnspecified() {
		return addr
	}
	return fmt.Sprintf("127.0.0.1:%d", ap.Port())
}

func addrFlag(addr string) string {
	if addr == defaultAddr {
		return ""
	}
	return " --addr " + addr
}

// shellQuote quotes s for a POSIX shell, where that is needed.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
