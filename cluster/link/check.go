package link

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// The kinds of raft messages, as raft's NetworkTransport numbers them.
const (
	kindAppendEntries = iota
	kindRequestVote
	kindInstallSnapshot
	kindTimeoutNow
	kindRequestPreVote
)

// newCommand returns an empty message of a kind.
func newCommand(kind byte) (raft.WithRPCHeader, error) {
	switch kind {
	case kindAppendEntries:
		return &raft.AppendEntriesRequest{}, nil
	case kindRequestVote:
		return &raft.RequestVoteRequest{}, nil
	case kindInstallSnapshot:
		return &raft.InstallSnapshotRequest{}, nil
	case kindTimeoutNow:
		return &raft.TimeoutNowRequest{}, nil
	case kindRequestPreVote:
		return &raft.RequestPreVoteRequest{}, nil
	default:
		return nil, fmt.Errorf("%w: kind %d is not known", ErrBadMessage, kind)
	}
}

// checkCommand refuses what would make a peer's raft message act in another's
// name, or raft panic.
func checkCommand(peer string, cmd raft.WithRPCHeader) error {
	if h := cmd.GetRPCHeader(); string(h.ID) != peer || string(h.Addr) != peer {
		return fmt.Errorf("it speaks in the name of %.100q at %.100q", h.ID, h.Addr)
	}
	switch c := cmd.(type) {
	case *raft.AppendEntriesRequest:
		return checkEntries(c)
	case *raft.InstallSnapshotRequest:
		if c.SnapshotVersion != raft.SnapshotVersionMax {
			return fmt.Errorf("snapshot of version %d", c.SnapshotVersion)
		}
		if c.Size < 0 {
			return fmt.Errorf("snapshot of %d bytes", c.Size)
		}
		return checkConfiguration(c.Configuration)
	}
	return nil
}

// checkEntries refuses entries that raft would fall over, now or when it reads
// them from its log.
func checkEntries(c *raft.AppendEntriesRequest) error {
	for i, e := range c.Entries {
		switch want := c.PrevLogEntry + 1 + uint64(i); {
		case e == nil:
			return fmt.Errorf("entry %d is missing", i)
		case e.Index != want:
			return fmt.Errorf("entry %d where %d is due", e.Index, want)
		}
		switch e.Type {
		case raft.LogCommand, raft.LogNoop, raft.LogBarrier:
		case raft.LogConfiguration:
			if err := checkConfiguration(e.Data); err != nil {
				return err
			}
		default:
			return fmt.Errorf("entry of kind %d", e.Type)
		}
	}
	return nil
}

// maxConfiguration bounds a group's list of members, in bytes.
const maxConfiguration = 1 << 20

// checkConfiguration refuses a list of members that raft.DecodeConfiguration
// would panic over.
func checkConfiguration(data []byte) (err error) {
	one, err := readMessage(bufio.NewReader(bytes.NewReader(data)), nil, maxConfiguration, nil)
	if err != nil {
		return fmt.Errorf("list of members: %w", err)
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("list of members: %v", v)
		}
	}()
	c := raft.DecodeConfiguration(one)
	if slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return s.ID == "" || s.Address == "" }) {
		return fmt.Errorf("list of members: one has no name")
	}
	return nil
}
