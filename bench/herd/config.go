package herd

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/wire"
)

// Bounds and defaults of [Config].
const (
	MaxCallers  = 50_000
	MaxAccounts = strict.MaxBatch

	DefaultCallers       = 1000
	DefaultAccounts      = 1
	DefaultProviderDelay = 250 * time.Millisecond
	DefaultTimeout       = time.Minute
)

// ErrConfig is wrapped by errors about a [Config] that cannot be.
var ErrConfig = errors.New("herd: bad configuration")

// Config says who is asked, by how many.
type Config struct {
	// Addr is the node's address, such as http://127.0.0.1:8420.
	Addr string
	// Key is an API key with admin permission.
	Key wire.Secret
	// Provider is the address of the strict demo provider that the node can
	// reach too, such as http://127.0.0.1:8421.
	Provider string
	// Callers ask for a token each; 0: [DefaultCallers].
	Callers int
	// Accounts are asked for in turns; 0: [DefaultAccounts]. At most Callers.
	Accounts int
	// Connections to the node; 0: one for each caller. With fewer, callers
	// wait for each other, and that counts as waiting.
	Connections int
	// ProviderDelay makes the provider that slow during the run, so that all
	// callers really meet an account that is expired; 0:
	// [DefaultProviderDelay], negative: no delay.
	ProviderDelay time.Duration
	// Timeout bounds the run, without the cleaning up; 0: [DefaultTimeout].
	Timeout time.Duration
	// Progress, where set, is told how far the run is: often, from one
	// goroutine at a time. It must not block.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Phase Phase
	Done  int
	Total int
}

// Phase is a part of a run.
type Phase string

// The phases, in their order.
const (
	PhaseConnect Phase = "connect" // connections to the node are opened
	PhaseImport  Phase = "import"  // expired accounts are made
	PhaseHerd    Phase = "herd"    // callers are answered
	PhaseCheck   Phase = "check"   // their tokens are shown to the provider
	PhaseCleanup Phase = "cleanup" // accounts are removed
)

func (c Config) withDefaults() Config {
	setInt(&c.Callers, DefaultCallers)
	setInt(&c.Accounts, DefaultAccounts)
	setInt(&c.Connections, c.Callers)
	switch {
	case c.ProviderDelay == 0:
		c.ProviderDelay = DefaultProviderDelay
	case c.ProviderDelay < 0:
		c.ProviderDelay = 0
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	return c
}

func setInt(n *int, otherwise int) {
	if *n == 0 {
		*n = otherwise
	}
}

// Validate says what is wrong with the configuration, all of it at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, a := range []struct{ name, addr string }{{"node", c.Addr}, {"provider", c.Provider}} {
		u, err := url.Parse(a.addr)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("%w: the address of the %s is %q; write it like http://127.0.0.1:8420", ErrConfig, a.name, a.addr))
		}
	}
	if c.Key == "" {
		errs = append(errs, fmt.Errorf("%w: there is no API key; give one with admin permission", ErrConfig))
	}
	if c.Callers < 1 || c.Callers > MaxCallers {
		errs = append(errs, fmt.Errorf("%w: %d callers; 1 to %d are possible", ErrConfig, c.Callers, MaxCallers))
	}
	if c.Accounts < 1 || c.Accounts > min(MaxAccounts, c.Callers) {
		errs = append(errs, fmt.Errorf("%w: %d accounts; 1 to %d are possible, and not more than callers", ErrConfig, c.Accounts, MaxAccounts))
	}
	if c.Connections < 1 {
		errs = append(errs, fmt.Errorf("%w: %d connections; at least one is needed", ErrConfig, c.Connections))
	}
	if c.Timeout < 0 || c.ProviderDelay >= c.Timeout {
		errs = append(errs, fmt.Errorf("%w: the run may take %v, and the provider alone takes %v", ErrConfig, c.Timeout, c.ProviderDelay))
	}
	return errors.Join(errs...)
}
