package link

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
)

func pack(t testing.TB, v any) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := codec.NewEncoder(&out, &codec.MsgpackHandle{}).Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// read reads one message out of data and says how many bytes are left.
func readOne(data []byte, limit int) (got []byte, left int, err error) {
	r := bufio.NewReader(bytes.NewReader(data))
	got, err = readMessage(r, nil, limit, nil)
	rest, _ := io.ReadAll(r)
	return got, len(rest), err
}

func TestMessageEndsWhereTheValueEnds(t *testing.T) {
	for name, v := range map[string]any{
		"nil": nil, "true": true, "small": 5, "negative": -3, "8 bits": 200, "16 bits": 60_000, "32 bits": 1 << 30, "64 bits": uint64(1) << 60,
		"signed 8": -100, "signed 16": -30_000, "signed 32": -(1 << 30), "signed 64": -(int64(1) << 60), "float": 1.5, "short float": float32(1.5),
		"string": "abc", "long string": strings.Repeat("x", 300), "longer string": strings.Repeat("x", 1<<17), "bytes": []byte("abc"),
		"array": []int{1, 2, 3}, "long array": make([]int, 500), "map": map[string]any{"a": []int{1}, "b": map[string]int{"c": 1}}, "time": time.Unix(1_700_000_000, 1),
		"entries": raft.AppendEntriesRequest{Entries: []*raft.Log{{Index: 1, Data: make([]byte, 5000)}, {Index: 2}}},
	} {
		data := pack(t, v)
		got, left, err := readOne(append(bytes.Clone(data), "rest"...), maxMessage)
		if err != nil || !bytes.Equal(got, data) || left != 4 {
			t.Errorf("%s: %d of %d bytes, %d left, %v", name, len(got), len(data), left, err)
		}
		for cut := range min(len(data), 40) {
			if _, _, err := readOne(data[:cut], maxMessage); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, cut to %d bytes: %v", name, cut, err)
			}
		}
	}
}

func u32(b byte, n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{b}, n) }

// TestClaimsCostNoMemory: only what has come does.
func TestClaimsCostNoMemory(t *testing.T) {
	nest := bytes.Repeat([]byte{0x91}, maxTokens+10)
	var wide []byte // arrays of arrays of nothing: a byte each, a structure each for the decoder
	wide = append(wide, 0xdc, 4, 0)
	for range 1024 {
		wide = append(append(wide, 0xdc, 4, 0), bytes.Repeat([]byte{0x80}, 1024)...)
	}
	for name, c := range map[string]struct {
		data []byte
		err  error
	}{
		"4 GB of bytes":          {u32(0xc6, 0xFFFFFFFF), ErrBadMessage},
		"4 GB of string":         {u32(0xdb, 0xFFFFFFFF), ErrBadMessage},
		"4 GB of extension":      {u32(0xc9, 0xFFFFFFFF), ErrBadMessage},
		"4 billion items":        {u32(0xdd, 0xFFFFFFFF), ErrBadMessage},
		"4 billion pairs":        {u32(0xdf, 0xFFFFFFFF), ErrBadMessage},
		"1025 items":             {u32(0xdd, 1025), ErrBadMessage},
		"the most, and 3 bytes":  {append(u32(0xc6, maxMessage-5), 1, 2, 3), io.ErrUnexpectedEOF},
		"one more than the most": {u32(0xc6, maxMessage-4), ErrBadMessage},
		"nests":                  {nest, ErrBadMessage},
		"a million structures":   {wide, ErrBadMessage},
		"what is no value":       {[]byte{0xc1}, ErrBadMessage},
		"nothing":                {nil, io.ErrUnexpectedEOF},
	} {
		if name == "one more than the most" {
			c.data = append(c.data, make([]byte, maxMessage)...)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := bufio.NewReaderSize(bytes.NewReader(c.data), 64)
		got, err := readMessage(r, nil, maxMessage, nil)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
		// Growing copies, by a quarter at a time: five times what came, two of them at once.
		if cost, most := after.TotalAlloc-before.TotalAlloc, uint64(6*len(got)+2*chunk+64<<10); cost > most {
			t.Errorf("%s: %d bytes of memory for %d that came", name, cost, len(got))
		}
	}
}

func TestLargeMessageAsksForItsPlaceOnce(t *testing.T) {
	asked := 0
	large := func() error { asked++; return nil }
	read := func(size int) error {
		data := pack(t, make([]byte, size))
		_, err := readMessage(bufio.NewReader(bytes.NewReader(data)), nil, maxMessage, large)
		return err
	}
	if err := read(largeMessage - 100); err != nil || asked != 0 {
		t.Errorf("a small message: %v, asked %d times", err, asked)
	}
	if err := read(5 * largeMessage); err != nil || asked != 1 {
		t.Errorf("a large message: %v, asked %d times", err, asked)
	}
	large = func() error { return io.ErrClosedPipe }
	if err := read(5 * largeMessage); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("no place: %v", err)
	}
}

// TestRaftIsSparedWhatItWouldFallOver lists what decodes, and would make raft
// panic, or take one node for another.
func TestRaftIsSparedWhatItWouldFallOver(t *testing.T) {
	members := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}})
	entries := func(change func([]*raft.Log) []*raft.Log) raft.WithRPCHeader {
		l := []*raft.Log{{Index: 5, Type: raft.LogCommand}, {Index: 6, Type: raft.LogConfiguration, Data: members}}
		return &raft.AppendEntriesRequest{RPCHeader: header("n1"), PrevLogEntry: 4, Entries: change(l)}
	}
	snapshot := func(change func(*raft.InstallSnapshotRequest)) raft.WithRPCHeader {
		s := &raft.InstallSnapshotRequest{RPCHeader: header("n1"), SnapshotVersion: 1, Configuration: members, Size: 1}
		change(s)
		return s
	}
	for name, c := range map[string]struct {
		cmd raft.WithRPCHeader
		bad string
	}{
		"sound entries":         {entries(func(l []*raft.Log) []*raft.Log { return l }), ""},
		"no entries":            {entries(func([]*raft.Log) []*raft.Log { return nil }), ""},
		"entry that is missing": {entries(func(l []*raft.Log) []*raft.Log { l[1] = nil; return l }), "is missing"},
		"gap":                   {entries(func(l []*raft.Log) []*raft.Log { return l[1:] }), "entry 6 where 5 is due"},
		"old kind":              {entries(func(l []*raft.Log) []*raft.Log { l[0].Type = raft.LogAddPeerDeprecated; return l }), "kind 2"},
		"unknown kind":          {entries(func(l []*raft.Log) []*raft.Log { l[0].Type = 99; return l }), "kind 99"},
		"members: garbage":      {entries(func(l []*raft.Log) []*raft.Log { l[1].Data = []byte("garbage"); return l }), "list of members"},
		"members: none":         {entries(func(l []*raft.Log) []*raft.Log { l[1].Data = nil; return l }), "list of members"},
		"members: claims":       {entries(func(l []*raft.Log) []*raft.Log { l[1].Data = u32(0xdd, 1<<30); return l }), "list of members"},
		"members: no name": {entries(func(l []*raft.Log) []*raft.Log {
			l[1].Data = raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1"}}})
			return l
		}), "has no name"},
		"sound snapshot":      {snapshot(func(*raft.InstallSnapshotRequest) {}), ""},
		"snapshot of version": {snapshot(func(s *raft.InstallSnapshotRequest) { s.SnapshotVersion = 0 }), "version 0"},
		"snapshot of size":    {snapshot(func(s *raft.InstallSnapshotRequest) { s.Size = -1 }), "-1 bytes"},
		"snapshot's members":  {snapshot(func(s *raft.InstallSnapshotRequest) { s.Configuration = []byte{0xc1} }), "list of members"},
		"sound vote":          {&raft.RequestVoteRequest{RPCHeader: header("n1")}, ""},
		"another's name":      {&raft.RequestVoteRequest{RPCHeader: header("n2")}, "in the name of"},
		"another's address":   {&raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte("n1"), Addr: []byte("n2")}}, "in the name of"},
		"no name":             {&raft.TimeoutNowRequest{}, "in the name of"},
	} {
		err := checkCommand("n1", c.cmd)
		if c.bad == "" && err != nil || c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzMessage: whatever comes, it is refused or becomes a message, within
// bounds of memory, and without a panic.
func FuzzMessage(f *testing.F) {
	f.Add(byte(kindAppendEntries), pack(f, raft.AppendEntriesRequest{RPCHeader: header("n1"), Entries: []*raft.Log{{Index: 1, Data: []byte("x")}}}))
	f.Add(byte(kindInstallSnapshot), pack(f, raft.InstallSnapshotRequest{RPCHeader: header("n1"), SnapshotVersion: 1, Size: 5}))
	f.Add(byte(kindRequestVote), pack(f, raft.RequestVoteRequest{RPCHeader: header("n1")}))
	f.Add(byte(kindTimeoutNow), u32(0xdd, 1000))
	f.Add(byte(kindRequestPreVote), []byte{0x81, 0xa2, 'I', 'D', 0xc6, 0xff, 0xff, 0xff, 0xff})
	dec := codec.NewDecoderBytes(nil, &codec.MsgpackHandle{})
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		got, left, err := readOne(data, maxMessage)
		if err != nil {
			return
		}
		if len(got)+left != len(data) || !bytes.HasPrefix(data, got) {
			t.Fatalf("%d bytes became %d and %d", len(data), len(got), left)
		}
		cmd, err := newCommand(kind % 5)
		if err != nil {
			t.Fatal(err)
		}
		dec.ResetBytes(got)
		if dec.Decode(cmd) == nil {
			_ = checkCommand("n1", cmd)
		}
	})
}
