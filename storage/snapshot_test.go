package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grantd/grantd/credential"
)

// exportOf makes a snapshot of some state that ends with the entry of the
// index, and notes that state.
func exportOf(t *testing.T, index uint64, state map[string]string) func() io.Reader {
	t.Helper()
	g := openMem(t).Group(1)
	for i := uint64(1); i < index; i++ {
		apply(t, g, i, Batch{Puts: []Put{put(fmt.Sprint("new", i%13), fmt.Sprintf("%0200d", i)), put("k0001", "from the snapshot")}})
	}
	if _, err := g.Apply([]Command{{Index: index, Term: 9, Conf: []byte("conf")}}); err != nil {
		t.Fatal(err)
	}
	maps.Copy(state, dump(t, g))
	var b bytes.Buffer
	if _, err := g.Export(&b); err != nil {
		t.Fatal(err)
	}
	return func() io.Reader { return bytes.NewReader(b.Bytes()) }
}

func TestImportReplacesTheStateByTheExportedOne(t *testing.T) {
	from, to := openMem(t), openMem(t)
	src, dst := from.Group(1), to.Group(1)
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range 300 {
		a := randomAccount(rng, ref(i))
		change(t, src, uint64(i+1), credential.Change{Ref: a.Ref, After: a, Lines: lines(2), Events: events(a.Ref, 1)})
	}
	if _, err := src.Apply([]Command{{Index: 400, Term: 8, Conf: []byte("voters")}}); err != nil {
		t.Fatal(err)
	}
	for i := range 50 { // what is replaced
		r := credential.Ref{Tenant: "old", ID: fmt.Sprint(i)}
		change(t, dst, uint64(i+1), credential.Change{Ref: r, After: account(r, t0)})
	}
	neighbour := to.Group(2)
	apply(t, neighbour, 1, Batch{Puts: []Put{put("k", "stays")}})
	mustAppend(t, openLog(t, to, 1), run(1, 50))

	var stream bytes.Buffer
	exported, err := src.Export(&stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := dst.Import(&stream); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(dump(t, src), dump(t, dst)) {
		t.Error("the states differ")
	}
	want, _ := src.Applied()
	got, err := dst.Applied()
	if err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(exported, want) {
		t.Errorf("applied %+v, exported %+v, want %+v (%v)", got, exported, want, err)
	}
	if v, _, err := neighbour.Get([]byte("k")); string(v) != "stays" || err != nil {
		t.Errorf("the neighbour: %q, %v", v, err)
	}
	if l := openLog(t, to, 1); l.FirstIndex() != 1 || l.LastIndex() != 50 {
		t.Errorf("the log was touched: %d to %d", l.FirstIndex(), l.LastIndex())
	}
	apply(t, dst, 401, Batch{Puts: []Put{put("goes", "on")}})
	if _, rev, err := dst.Get([]byte("goes")); rev != 401 || err != nil {
		t.Errorf("after the import: revision %d, %v", rev, err)
	}
}

func TestExportIsOfOneMoment(t *testing.T) {
	g := openMem(t).Group(1)
	apply(t, g, 1, Batch{Puts: []Put{put("a", "1"), put("z", "1")}})
	r, w := io.Pipe()
	done := make(chan Applied)
	go func() {
		a, err := g.Export(w)
		_ = w.CloseWithError(err)
		done <- a
	}()
	head := make([]byte, 1) // the export has begun, and waits for its reader
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	apply(t, g, 2, Batch{Puts: []Put{put("a", "2"), put("z", "2")}})
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.Index != 1 {
		t.Errorf("exported up to %d", a.Index)
	}
	dst := openMem(t).Group(1)
	if err := dst.Import(bytes.NewReader(append(head, rest...))); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, dst); !maps.Equal(got, map[string]string{"a": "1:1", "z": "1:1"}) {
		t.Errorf("state %q", got)
	}
}

func TestGroupWithoutStateIsNotExported(t *testing.T) {
	db := openMem(t)
	apply(t, db.Group(2), 1, Batch{Puts: []Put{put("k", "of the next group")}})
	var b bytes.Buffer
	if _, err := db.Group(1).Export(&b); !errors.Is(err, ErrNotFound) || b.Len() != 0 {
		t.Errorf("Export wrote %d bytes, %v", b.Len(), err)
	}
}

func TestLargeSnapshotIsCutIntoTables(t *testing.T) {
	src, dst := openMem(t).Group(1), openMem(t).Group(1)
	value := make([]byte, 1<<20)
	for i := range value {
		value[i] = byte(i * i >> 8)
	}
	for i := range uint64(2*importTableBytes>>20 + 5) {
		apply(t, src, i+1, Batch{Puts: []Put{{Key: fmt.Append(nil, "k", i), Value: value}}})
	}
	r, w := io.Pipe()
	go func() {
		_, err := src.Export(w)
		_ = w.CloseWithError(err)
	}()
	if err := dst.Import(r); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(dump(t, src), dump(t, dst)) {
		t.Error("the states differ")
	}
}

func TestDamagedSnapshotChangesNothing(t *testing.T) {
	fs := vfs.NewMem()
	db := openOn(t, fs)
	g := db.Group(1)
	apply(t, g, 1, Batch{Puts: []Put{put("k", "old")}})
	before := dump(t, g)
	src := openMem(t).Group(1)
	apply(t, src, 5, Batch{Puts: []Put{put("a", "1"), put("b", "2")}})
	var b bytes.Buffer
	if _, err := src.Export(&b); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	refuse := func(name string, stream []byte) {
		t.Helper()
		if err := g.Import(bytes.NewReader(stream)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
		a, err := g.Applied()
		if !maps.Equal(before, dump(t, g)) || a.Index != 1 || err != nil {
			t.Errorf("%s: the state changed", name)
		}
	}
	for n := range good {
		refuse(fmt.Sprintf("cut off after %d bytes", n), good[:n])
		flipped := bytes.Clone(good)
		flipped[n] ^= 0x41
		refuse(fmt.Sprintf("byte %d flipped", n), flipped)
	}
	if left, err := fs.List(db.importDir()); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	boom := errors.New("connection lost")
	broken := io.MultiReader(bytes.NewReader(good[:40]), &failingReader{boom})
	if err := g.Import(broken); !errors.Is(err, boom) {
		t.Errorf("a broken stream: %v", err)
	}
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }
