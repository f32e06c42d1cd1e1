package consensus

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
)

func TestKVReadsItsOwnWritesAtTheirRevisions(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	n.lead()
	kv := n.host.KV()
	ctx := t.Context()
	if _, _, err := kv.Get("a/1"); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("absent key: %v", err)
	}
	rev, err := kv.Put(ctx, "a/1", 0, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if v, r, err := kv.Get("a/1"); string(v) != "x" || r != rev || err != nil {
		t.Errorf("read %q at %d (%v), want x at %d", v, r, err, rev)
	}
	for name, err := range map[string]error{
		"second creation": second(kv.Put(ctx, "a/1", 0, []byte("y"))),
		"old revision":    second(kv.Put(ctx, "a/1", rev-1, []byte("y"))),
		"old deletion":    kv.Delete(ctx, "a/1", rev-1),
	} {
		if !errors.Is(err, credential.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, k := range []string{"a/2", "b/1", "a0", "a"} {
		if _, err := kv.Put(ctx, k, 0, []byte(k)); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(ctx, "a/1", rev); err != nil {
		t.Error(err)
	}
	var keys []string
	if err := kv.Scan("a/", func(k string, v []byte, _ uint64) error {
		keys = append(keys, k)
		return nil
	}); err != nil || !slices.Equal(keys, []string{"a/2"}) {
		t.Errorf("scan of a/: %v (%v)", keys, err)
	}
	stop := errors.New("enough")
	if err := kv.Scan("", func(string, []byte, uint64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("scan went on: %v", err)
	}
}

func second(_ uint64, err error) error { return err }

// TestWriterIsAnsweredAfterCachesHeardOfTheKeys: otherwise he would read the
// old value from the cache that he has just outdated.
func TestKeysAreDeletedTogetherOrNotAtAll(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	n.lead()
	kv, revisions := n.host.KV(), map[string]uint64{}
	for _, k := range []string{"a/1", "a/2", "a/3"} {
		rev, err := kv.Put(t.Context(), k, 0, []byte(k))
		if err != nil {
			t.Fatal(err)
		}
		revisions[k] = rev
	}
	moved, err := kv.Put(t.Context(), "a/2", revisions["a/2"], []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.DeleteAll(t.Context(), revisions); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("one was written meanwhile: %v", err)
	}
	if _, _, err := kv.Get("a/1"); err != nil {
		t.Errorf("another is gone: %v", err)
	}
	revisions["a/2"] = moved
	for _, err := range []error{kv.DeleteAll(t.Context(), nil), kv.DeleteAll(t.Context(), revisions)} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := kv.Scan("", func(k string, _ []byte, _ uint64) error { return errors.New(k) }); err != nil {
		t.Errorf("%v is left", err)
	}
}

func TestWriterIsAnsweredAfterCachesHeardOfTheKeys(t *testing.T) {
	n := startNode(t, vfs.NewMem(), config("n1", 1))
	defer n.stop()
	n.lead()
	kv := n.host.KV()
	var mu sync.Mutex
	var heard [][]string
	kv.OnChange(func(keys []string) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, keys)
	})
	last := func() []string {
		mu.Lock()
		defer mu.Unlock()
		if len(heard) == 0 {
			return []string{"none"}
		}
		defer func() { heard = nil }()
		return heard[len(heard)-1]
	}
	ctx := t.Context()
	rev, err := kv.Put(ctx, "k", 0, nil)
	if got := last(); err != nil || !slices.Equal(got, []string{"k"}) {
		t.Errorf("after a put: heard %q (%v)", got, err)
	}
	if _, err := kv.Put(ctx, "k", 0, nil); err == nil || !slices.Equal(last(), []string{"none"}) {
		t.Errorf("a conflict was told, or none happened (%v)", err)
	}
	if err := kv.Delete(ctx, "k", rev); err != nil || !slices.Equal(last(), []string{"k"}) {
		t.Errorf("a deletion was not told (%v)", err)
	}
	wide, err := storage.Batch{DeleteRanges: []storage.KeyRange{{Lo: []byte("a"), Hi: []byte("z")}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.host.Group(MetaGroup).Propose(ctx, wide); err != nil || last() != nil {
		t.Errorf("a deletion of many keys must be told as nil (%v)", err)
	}
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ prefix, want []byte }{
		{[]byte("a/"), []byte("a0")},
		{[]byte{1, 0xff}, []byte{2}},
		{[]byte{0xff, 0xff}, nil},
		{nil, nil},
	} {
		if got := prefixEnd(c.prefix); !bytes.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("prefixEnd(%x) = %x, want %x", c.prefix, got, c.want)
		}
	}
}
