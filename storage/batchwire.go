package storage

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The wire form of Batch, written and read by hand: every entry passes here
// twice, and the generated code would copy each key and value once more. The
// schema is storage.proto, and a test holds this file against the code that is
// generated from it.

// Field numbers of the message Batch, and of the messages in it.
const (
	fieldChecks       = 1
	fieldDeleteRanges = 2
	fieldDeletes      = 3
	fieldPuts         = 4
	fieldAppends      = 5

	fieldFirst  = 1 // Check.key, Range.lo, Put.key, Append.prefix
	fieldSecond = 2 // Check.revision, Range.hi, Put.value, Append.value
	fieldThird  = 3 // Put.keep_above, Append.keep
)

// part is any of the messages in a Batch: up to two byte strings and a number.
type part struct {
	first, second []byte
	number        uint64
	numberField   protowire.Number // 0: it has no number
}

func (c Check) part() part { return part{first: c.Key, number: c.Revision, numberField: fieldSecond} }

func (r KeyRange) part() part { return part{first: r.Lo, second: r.Hi} }

func (p Put) part() part {
	return part{first: p.Key, second: p.Value, number: uint64(p.KeepAbove), numberField: fieldThird}
}

func (a Append) part() part {
	return part{first: a.Prefix, second: a.Value, number: a.Keep, numberField: fieldThird}
}

// All field numbers are below 16, so that every tag takes one byte.

func (p part) size() int {
	n := 0
	if len(p.first) > 0 {
		n += 1 + protowire.SizeBytes(len(p.first))
	}
	if len(p.second) > 0 {
		n += 1 + protowire.SizeBytes(len(p.second))
	}
	if p.number != 0 {
		n += 1 + protowire.SizeVarint(p.number)
	}
	return n
}

func (p part) append(b []byte, field protowire.Number) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(p.size()))
	if len(p.first) > 0 {
		b = appendBytes(b, fieldFirst, p.first)
	}
	if p.number != 0 && p.numberField == fieldSecond {
		b = appendNumberField(b, fieldSecond, p.number)
	}
	if len(p.second) > 0 {
		b = appendBytes(b, fieldSecond, p.second)
	}
	if p.number != 0 && p.numberField == fieldThird {
		b = appendNumberField(b, fieldThird, p.number)
	}
	return b
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendNumberField(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func (b Batch) size() int {
	n := 0
	for _, c := range b.Checks {
		n += 1 + protowire.SizeBytes(c.part().size())
	}
	for _, r := range b.DeleteRanges {
		n += 1 + protowire.SizeBytes(r.part().size())
	}
	for _, k := range b.Deletes {
		n += 1 + protowire.SizeBytes(len(k))
	}
	for _, p := range b.Puts {
		n += 1 + protowire.SizeBytes(p.part().size())
	}
	for _, a := range b.Appends {
		n += 1 + protowire.SizeBytes(a.part().size())
	}
	return n
}

func (b Batch) append(out []byte) []byte {
	for _, c := range b.Checks {
		out = c.part().append(out, fieldChecks)
	}
	for _, r := range b.DeleteRanges {
		out = r.part().append(out, fieldDeleteRanges)
	}
	for _, k := range b.Deletes {
		out = appendBytes(out, fieldDeletes, k)
	}
	for _, p := range b.Puts {
		out = p.part().append(out, fieldPuts)
	}
	for _, a := range b.Appends {
		out = a.part().append(out, fieldAppends)
	}
	return out
}

// decode replaces the batch by what data holds; keys and values lie in data.
// It uses again what the batch has allocated.
func (b *Batch) decode(data []byte) error {
	*b = Batch{b.Checks[:0], b.DeleteRanges[:0], b.Deletes[:0], b.Puts[:0], b.Appends[:0]}
	unknown := false
	for len(data) > 0 {
		f, rest, err := consumeField(data)
		if err != nil {
			return err
		}
		data = rest
		if f.kind != protowire.BytesType {
			unknown = true
			continue
		}
		known, err := b.decodePart(f)
		if err != nil {
			return err
		}
		unknown = unknown || !known
	}
	if unknown {
		return fmt.Errorf("%w: an entry has parts that this version does not know; upgrade this node", ErrNewerFormat)
	}
	return nil
}

// decodePart adds a part to the batch; false if it has fields that are unknown.
func (b *Batch) decodePart(f field) (known bool, err error) {
	p := part{numberField: fieldThird}
	switch f.number {
	case fieldDeletes:
		b.Deletes = append(b.Deletes, f.bytes)
		return true, nil
	case fieldChecks:
		p.numberField = fieldSecond
	case fieldDeleteRanges:
		p.numberField = 0
	case fieldPuts, fieldAppends:
	default:
		return false, nil
	}
	known, err = p.decode(f.bytes)
	switch f.number {
	case fieldChecks:
		b.Checks = append(b.Checks, Check{Key: p.first, Revision: p.number})
	case fieldDeleteRanges:
		b.DeleteRanges = append(b.DeleteRanges, KeyRange{Lo: p.first, Hi: p.second})
	case fieldPuts:
		b.Puts = append(b.Puts, Put{Key: p.first, Value: p.second, KeepAbove: uint32(p.number)})
	case fieldAppends:
		b.Appends = append(b.Appends, Append{Prefix: p.first, Value: p.second, Keep: p.number})
	}
	return known, err
}

// decode reads the fields of a part; false if there are unknown ones.
func (p *part) decode(data []byte) (known bool, err error) {
	known = true
	for len(data) > 0 {
		f, rest, err := consumeField(data)
		if err != nil {
			return false, err
		}
		data = rest
		switch {
		case f.kind == protowire.VarintType && f.number == p.numberField:
			p.number = f.varint
		case f.kind == protowire.BytesType && f.number == fieldFirst:
			p.first = f.bytes
		case f.kind == protowire.BytesType && f.number == fieldSecond && p.numberField != fieldSecond:
			p.second = f.bytes
		default:
			known = false
		}
	}
	return known, nil
}

// field is one field of a message as it stands on the wire.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bytes  []byte // of a BytesType
	varint uint64 // of a VarintType
}

// consumeField reads a field and returns what comes after it.
func consumeField(data []byte) (f field, rest []byte, err error) {
	number, kind, n := protowire.ConsumeTag(data)
	if n < 0 {
		return f, nil, badBatch(protowire.ParseError(n))
	}
	if !number.IsValid() { // ConsumeTag lets too high ones pass
		return f, nil, badBatch(fmt.Errorf("field number %d", number))
	}
	f.number, f.kind, rest = number, kind, data[n:]
	switch kind {
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(rest)
		f.bytes = f.bytes[:len(f.bytes):len(f.bytes)] // who appends to it must not write into data
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(rest)
	default:
		n = protowire.ConsumeFieldValue(number, kind, rest)
	}
	if n < 0 {
		return f, nil, badBatch(protowire.ParseError(n))
	}
	return f, rest[n:], nil
}

func badBatch(err error) error { return fmt.Errorf("%w: %v", ErrBadBatch, err) }
