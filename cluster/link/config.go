package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Config says who a [Port] is and what its network is. The zero value of every
// field but Identity, Listener, Dial and Resolve means its documented default.
type Config struct {
	// Identity must be a node's. The Port follows its source until it is closed.
	Identity *Identity
	// Listener is where others call. The Port closes it.
	Listener net.Listener
	// Dial connects to an address that Resolve gave. It must end with ctx.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Resolve returns the present address of a node; false: not known. It must
	// not block.
	Resolve func(node string) (addr string, ok bool)
	// Logger gets a line for every connection that fails, of a storm of them
	// only some; nil: nothing.
	Logger *slog.Logger
	Limits Limits
	Timing Timing
}

// Limits bound what others can make a [Port] hold; 0 means the default.
type Limits struct {
	// Handshakes is how many strangers may be on their way in; further ones wait
	// in the listener's backlog. Default 128.
	Handshakes int
	// Conns is how many accepted connections there may be. Default 8192.
	Conns int
	// Streams is how many raft streams one node may have in one group. For one
	// more, the one that has been silent longest is closed. Default 8, of which
	// a sound node uses about four.
	Streams int
	// RPC is how many RPC connections there may be of one name, which many
	// processes of one service may share. Default 256.
	RPC int
}

// Timing holds a [Port]'s time-outs; 0 means the default.
type Timing struct {
	// Handshake bounds everything until a connection can be used. Default 3 s.
	Handshake time.Duration
	// Raft bounds the sending of one raft message and the wait for its answer;
	// for a snapshot, once more for each 256 KB. Default 5 s.
	Raft time.Duration
	// Beat is how often raft's heartbeats go out, which wait for each other. It
	// has to be well below raft's lease. Default 100 ms.
	Beat time.Duration
	// Reload is how often the identity looks at its source. Default 5 s.
	Reload time.Duration
}

func (c Config) withDefaults() Config {
	c.Limits.Handshakes = cmp.Or(c.Limits.Handshakes, 128)
	c.Limits.Conns = cmp.Or(c.Limits.Conns, 8192)
	c.Limits.Streams = cmp.Or(c.Limits.Streams, 8)
	c.Limits.RPC = cmp.Or(c.Limits.RPC, 256)
	c.Timing.Handshake = cmp.Or(c.Timing.Handshake, 3*time.Second)
	c.Timing.Raft = cmp.Or(c.Timing.Raft, 5*time.Second)
	c.Timing.Beat = cmp.Or(c.Timing.Beat, 100*time.Millisecond)
	c.Timing.Reload = cmp.Or(c.Timing.Reload, 5*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Identity == nil {
		errs = append(errs, errors.New("no identity given"))
	}
	if c.Listener == nil || c.Dial == nil || c.Resolve == nil {
		errs = append(errs, errors.New("no network given: it needs a listener, a dial and a resolve function"))
	}
	l, t := c.Limits, c.Timing
	if min(l.Handshakes, l.Conns, l.Streams, l.RPC) < 0 || min(t.Handshake, t.Raft, t.Beat, t.Reload) < 0 {
		errs = append(errs, errors.New("a limit or a time-out is negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}
