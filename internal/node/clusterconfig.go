package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/grantd/grantd/cluster/gossip"
	"github.com/grantd/grantd/cluster/link"
	"github.com/grantd/grantd/internal/config"
)

// clusterConfig makes what lies on the real network; nil: the node is alone.
func clusterConfig(c config.Config, version string, logger *slog.Logger) (*ClusterConfig, error) {
	if !c.Cluster.Enabled() {
		return nil, nil
	}
	id, err := openIdentity(c, logger)
	if err != nil {
		return nil, err
	}
	dial, err := dialFrom(c.Cluster.RPC)
	if err != nil {
		return nil, fmt.Errorf("cluster.rpc: %w", err)
	}
	g := gossip.Config{Bind: c.Cluster.Gossip, Join: c.Cluster.Join}
	if path := c.Cluster.GossipKey; path != "" {
		g.Keyring = func() ([][]byte, error) { return config.GossipKeys(path) }
		if _, err := g.Keyring(); err != nil {
			return nil, fmt.Errorf("cluster.gossip_key: %w", err)
		}
	}
	ln, err := net.Listen("tcp", c.Cluster.RPC)
	if err != nil {
		return nil, fmt.Errorf("cluster.rpc: %w", err)
	}
	return &ClusterConfig{
		Identity: id, Listener: ln, Dial: dial, RPC: c.Cluster.RPC, HTTP: c.HTTP.Listen, Version: version, Gossip: g,
		Expect: c.Cluster.BootstrapExpect, Replicas: c.Cluster.Replicas, MaxMoving: c.Cluster.MaxMoving,
		RebuildAfter: c.Cluster.RebuildAfter, ReplicaAfter: c.Cluster.ReplicaAfter,
	}, nil
}

// CheckIdentity says whether the node can prove itself to the others of its
// cluster: whether certificate, key and authority belong together, serve now, and
// are this node's. It is for `serve --check`; nil where there is no cluster.
func CheckIdentity(c config.Config) error {
	if !c.Cluster.Enabled() {
		return nil
	}
	_, err := openIdentity(c, nil)
	return err
}

func openIdentity(c config.Config, logger *slog.Logger) (*link.Identity, error) {
	files := c.Cluster.TLS
	id, err := link.OpenIdentity(link.Files(files.CA, files.Cert, files.Key), c.Node.Name, logger)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls: %w", err)
	}
	return id, nil
}

// dialFrom connects from the address that the node listens at, so that others,
// and firewalls, see one address of it. A host's name is left to the system.
func dialFrom(listen string) (func(ctx context.Context, addr string) (net.Conn, error), error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if ip := net.ParseIP(host); ip != nil {
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	return func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }, nil
}

// discard closes what was opened for a node that does not start.
func (c *ClusterConfig) discard() error {
	if c == nil {
		return nil
	}
	var errs []error
	if err := c.Listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	if t := c.Gossip.Transport; t != nil {
		errs = append(errs, t.Shutdown())
	}
	return errors.Join(errs...)
}
