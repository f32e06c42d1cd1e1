package storage

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/storage/storagepb"
)

// generated is the batch as the generated code has it.
func generated(b Batch) *storagepb.Batch {
	p := &storagepb.Batch{Deletes: b.Deletes}
	for _, c := range b.Checks {
		p.Checks = append(p.Checks, &storagepb.Check{Key: c.Key, Revision: c.Revision})
	}
	for _, r := range b.DeleteRanges {
		p.DeleteRanges = append(p.DeleteRanges, &storagepb.Range{Lo: r.Lo, Hi: r.Hi})
	}
	for _, put := range b.Puts {
		p.Puts = append(p.Puts, &storagepb.Put{Key: put.Key, Value: put.Value, KeepAbove: put.KeepAbove})
	}
	for _, a := range b.Appends {
		p.Appends = append(p.Appends, &storagepb.Append{Prefix: a.Prefix, Value: a.Value, Keep: a.Keep})
	}
	return p
}

func TestBatchIsEncodedAsItsSchemaSays(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	for range 2000 {
		b := randomBatch(rng)
		b.Puts = append(b.Puts, Put{Key: make([]byte, rng.IntN(300)), Value: make([]byte, rng.IntN(40_000)), KeepAbove: rng.Uint32()})
		b.Checks = append(b.Checks, Check{Revision: rng.Uint64()})
		b.Deletes = append(b.Deletes, nil)
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(generated(b))
		if err != nil {
			t.Fatal(err)
		}
		got := mustEncode(t, b)
		if !bytes.Equal(got, want) {
			t.Fatalf("%+v\n got %x\nwant %x", b, got, want)
		}
		if len(got) != cap(got) {
			t.Fatalf("the size was estimated as %d, it is %d", cap(got), len(got))
		}
	}
}

func TestTooLargeABatchIsRefusedBeforeItIsProposed(t *testing.T) {
	b := Batch{Puts: []Put{{Key: []byte("k"), Value: make([]byte, MaxBatchBytes)}}}
	if _, err := b.Encode(); !errors.Is(err, ErrBadBatch) {
		t.Errorf("%v, want ErrBadBatch", err)
	}
	b.Puts[0].Value = b.Puts[0].Value[:MaxBatchBytes-20]
	if _, err := b.Encode(); err != nil {
		t.Error(err)
	}
}

// Two readers of the same bytes, one generated from the schema: they agree on
// what is a batch, what is of a newer version, and what it says.
func FuzzBatchIsReadAsItsSchemaSays(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		data, err := randomBatch(rng).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("\xb5\xb5\xb5\xa600000")) // a field number that is too high
	f.Fuzz(func(t *testing.T, data []byte) {
		var p storagepb.Batch
		wantErr := proto.Unmarshal(data, &p)
		b, err := DecodeBatch(data)
		if (wantErr == nil) != (err == nil || errors.Is(err, ErrNewerFormat)) {
			t.Fatalf("generated: %v, by hand: %v", wantErr, err)
		}
		if wantErr != nil {
			return
		}
		if unknown := unknownBytes(&p) > 0; unknown != errors.Is(err, ErrNewerFormat) {
			t.Fatalf("unknown fields: %v, error %v", unknown, err)
		}
		if err == nil && !proto.Equal(generated(b), &p) {
			t.Errorf("generated: %v\nby hand: %+v", &p, b)
		}
	})
}

func unknownBytes(p *storagepb.Batch) int {
	n := len(p.ProtoReflect().GetUnknown())
	for _, c := range p.Checks {
		n += len(c.ProtoReflect().GetUnknown())
	}
	for _, r := range p.DeleteRanges {
		n += len(r.ProtoReflect().GetUnknown())
	}
	for _, put := range p.Puts {
		n += len(put.ProtoReflect().GetUnknown())
	}
	for _, a := range p.Appends {
		n += len(a.ProtoReflect().GetUnknown())
	}
	return n
}
