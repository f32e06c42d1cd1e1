package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

// Meta is what a node tells about itself. Together its fields may have about
// 480 bytes.
type Meta struct {
	// Boot is drawn at random at each start of the process, so that a restart is
	// seen even if nobody has missed the node. It must not be empty.
	Boot string
	// RPC and HTTP are the addresses of the two ports.
	RPC, HTTP string
	// Version is the program's.
	Version string
	// DataID is drawn when the node's store is created.
	DataID string
	// Cluster is the cluster's id; empty: the node is in none yet.
	Cluster string
}

// metaFormat is the first byte of an encoded [Meta]. Behind it come fields: a
// tag, a length, the bytes. New fields get new tags, which older versions skip;
// the format changes only if that is not enough.
const metaFormat = 1

// maxField is the largest number of bytes of a field.
const maxField = 255

var errBadMeta = errors.New("metadata cannot be read")

// fields are in the order of their tags, which begin with 1.
func (m *Meta) fields() []*string {
	return []*string{&m.Boot, &m.RPC, &m.HTTP, &m.Version, &m.DataID, &m.Cluster}
}

// encode returns the bytes that travel with the node's name.
func (m Meta) encode() ([]byte, error) {
	if m.Boot == "" {
		return nil, errors.New("gossip: Meta.Boot is empty")
	}
	b := []byte{metaFormat}
	for i, f := range m.fields() {
		if *f == "" {
			continue
		}
		if len(*f) > maxField || !printable(*f) {
			return nil, fmt.Errorf("gossip: %.40q is no metadata: at most %d bytes, all of them printable", *f, maxField)
		}
		b = appendString(append(b, byte(i+1)), *f)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("gossip: metadata has %d bytes, at most %d are possible", len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

// decodeMeta reads what encode has written, here or in another version.
func decodeMeta(b []byte) (Meta, error) {
	if len(b) == 0 || b[0] != metaFormat || len(b) > memberlist.MetaMaxSize {
		return Meta{}, errBadMeta
	}
	var m Meta
	fields := m.fields()
	for b = b[1:]; len(b) > 0; {
		tag := int(b[0])
		s, rest, ok := cutString(b[1:])
		if !ok || tag == 0 {
			return Meta{}, errBadMeta
		}
		b = rest
		if tag > len(fields) {
			continue
		}
		if !printable(s) {
			return Meta{}, errBadMeta
		}
		*fields[tag-1] = s
	}
	if m.Boot == "" {
		return Meta{}, errBadMeta
	}
	return m, nil
}

// printable says whether s can be shown in a log line or a page as it is.
func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// appendString appends the length of s, as a varint, and s.
func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutString reads what appendString has appended, of at most maxField bytes. s
// is a copy.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > maxField || n > uint64(len(b)-size) {
		return "", nil, false
	}
	end := size + int(n)
	return string(b[size:end]), b[end:], true
}
