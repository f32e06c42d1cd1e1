package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/grantd/grantd/credential"
)

// Config says how a node gossips. Name, Meta.Boot and one of Bind and Transport
// must be given.
type Config struct {
	// Name is this node's, one of a kind in the cluster, as credential.CheckName
	// allows it.
	Name string
	// Bind is the host:port to listen at, with UDP and TCP. A host's name is
	// looked up once. Port 0 takes a free one.
	Bind string
	// Advertise is the host:port at which others reach this node; empty: Bind,
	// and where that is 0.0.0.0, a private address of this machine. A host's name
	// is looked up once.
	Advertise string
	// Join lists gossip addresses of other nodes, some of which should be up most
	// of the time. Names are looked up at every try. This node's own address may
	// be among them.
	Join []string
	// Keyring returns the keys, of 16, 24 or 32 bytes. The first one encrypts, all
	// of them decrypt. It is called at the start and then once in each
	// Timing.Keyring, by one goroutine at a time, so that keys can be changed
	// everywhere without a restart: add the new key as the last one on all nodes,
	// then make it the first one on all, then take the old one away. nil: nothing
	// is encrypted.
	Keyring func() ([][]byte, error)
	// Meta is what others learn of this node.
	Meta Meta
	// Timing of probes and retries.
	Timing Timing
	// Transport carries what is said; it is shut down with the node, and Bind is
	// not used. nil: UDP and TCP.
	Transport memberlist.Transport
	// Logger gets what an operator should know; nil: nothing.
	Logger *slog.Logger
}

// Timing holds intervals and time-outs; 0 means the default.
type Timing struct {
	// Probe is how often a node looks whether another one is there. Default
	// 300 ms.
	Probe time.Duration
	// ProbeTimeout is how long it waits for the answer before it asks others to
	// look. Default 150 ms.
	ProbeTimeout time.Duration
	// SuspicionMult says for how many probe intervals a node that does not answer
	// may still prove to be alive; memberlist makes it more with more than ten
	// nodes. Default 3.
	SuspicionMult int
	// Gossip is how often news is passed on. Default 200 ms.
	Gossip time.Duration
	// Sync is how often two nodes compare all they know. Default 15 s.
	Sync time.Duration
	// Stream bounds a connection between two nodes. Default 3 s.
	Stream time.Duration
	// Join is how long a node that knows nobody waits after its first try, at
	// most; it is doubled with each further try up to Rejoin. Default 500 ms.
	Join time.Duration
	// Rejoin is how often a node that knows others tries one of those that it has
	// lost or has never met. Default 10 s.
	Rejoin time.Duration
	// Keyring is how often Config.Keyring is called. Default 10 s.
	Keyring time.Duration
	// Forget is how long dead and left members stay listed. Default 24 h.
	Forget time.Duration
}

// leaveWithin bounds the time that a good-bye may take.
const leaveWithin = 5 * time.Second

// lookupWithin bounds a look-up of a host's name.
const lookupWithin = 5 * time.Second

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		at     *time.Duration
		normal time.Duration
	}{
		{&t.Probe, 300 * time.Millisecond},
		{&t.ProbeTimeout, 150 * time.Millisecond},
		{&t.Gossip, 200 * time.Millisecond},
		{&t.Sync, 15 * time.Second},
		{&t.Stream, 3 * time.Second},
		{&t.Join, 500 * time.Millisecond},
		{&t.Rejoin, 10 * time.Second},
		{&t.Keyring, 10 * time.Second},
		{&t.Forget, 24 * time.Hour},
	} {
		if *d.at == 0 {
			*d.at = d.normal
		}
	}
	if t.SuspicionMult == 0 {
		t.SuspicionMult = 3
	}
	return t
}

func (t Timing) validate() error {
	for _, d := range []time.Duration{t.Probe, t.ProbeTimeout, t.Gossip, t.Sync, t.Stream, t.Join, t.Rejoin, t.Keyring, t.Forget} {
		if d <= 0 {
			return fmt.Errorf("gossip: a time of %v in Timing", d)
		}
	}
	if t.SuspicionMult < 1 {
		return fmt.Errorf("gossip: SuspicionMult is %d", t.SuspicionMult)
	}
	if t.ProbeTimeout > t.Probe {
		return fmt.Errorf("gossip: a probe waits for %v, longer than the %v between two", t.ProbeTimeout, t.Probe)
	}
	return nil
}

// withDefaults returns the configuration with all defaults in, or says what is
// wrong with it.
func (c Config) withDefaults() (Config, error) {
	c.Timing = c.Timing.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := credential.CheckName("the node's name", c.Name); err != nil {
		return c, fmt.Errorf("gossip: %w", err)
	}
	if c.Bind == "" && c.Transport == nil {
		return c, errors.New("gossip: neither Bind nor Transport is given")
	}
	for _, a := range c.Join {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return c, fmt.Errorf("gossip: %.100q is no address to join: write host:port", a)
		}
	}
	return c, c.Timing.validate()
}

// lookUp returns the addresses that a host:port stands for, IPv4 ones as such.
func lookUp(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookupWithin)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips := []netip.Addr{netip.IPv4Unspecified()} // ":7946"
	if ip, err := netip.ParseAddr(host); err == nil {
		ips[0] = ip
	} else if host != "" {
		if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, err
		}
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		if ip.Zone() != "" {
			return nil, fmt.Errorf("%s: addresses with a zone cannot be gossiped", ip)
		}
		addrs[i] = netip.AddrPortFrom(ip.Unmap(), uint16(port)) // #nosec G115 -- a port
	}
	return addrs, nil
}
