package storage

import (
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/grantd/grantd/credential"
)

// The records, lines and events that a change writes, encoded by hand like the
// batch that they go into: every refresh writes two records, and the generated
// code would first make an object of each time in it. They are read by the
// generated code, which so holds this file against the schema.

// message is a protobuf message that is being written. As in proto3, what is
// empty, zero or false is left out.
type message []byte

// text writes a string. Protobuf refuses to read bytes that are not UTF-8: an
// odd byte in a provider's answer must not make a record unreadable.
func (m *message) text(field protowire.Number, s string) {
	if s != "" {
		m.element(field, valid(s))
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// element writes a string of a list, be it empty.
func (m *message) element(field protowire.Number, s string) {
	*m = protowire.AppendString(protowire.AppendTag(*m, field, protowire.BytesType), s)
}

func (m *message) bytes(field protowire.Number, b []byte) {
	if len(b) > 0 {
		*m = appendBytes(*m, field, b)
	}
}

// texts writes a map, in the order of its names.
func (m *message) texts(field protowire.Number, all map[string]string) {
	if len(all) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var entry message
		entry.element(1, strings.ToValidUTF8(name, "\uFFFD"))
		entry.element(2, strings.ToValidUTF8(all[name], "\uFFFD"))
		*m = appendBytes(*m, field, entry)
	}
}

func (m *message) number(field protowire.Number, n uint64) {
	if n != 0 {
		*m = appendNumberField(*m, field, n)
	}
}

func (m *message) flag(field protowire.Number, on bool) {
	m.number(field, protowire.EncodeBool(on))
}

// time writes a google.protobuf.Timestamp: a time to the nanosecond, in any
// year. The zero time is left out.
func (m *message) time(field protowire.Number, t time.Time) {
	if t.IsZero() {
		return
	}
	seconds, nanos := uint64(t.Unix()), uint64(t.Nanosecond())
	size := 0
	for _, n := range []uint64{seconds, nanos} {
		if n != 0 {
			size += 1 + protowire.SizeVarint(n)
		}
	}
	*m = protowire.AppendTag(*m, field, protowire.BytesType)
	*m = protowire.AppendVarint(*m, uint64(size))
	m.number(1, seconds)
	m.number(2, nanos)
}

// recordRoom is about how much an AccountRecord takes besides its tokens.
const recordRoom = 512

func encodeAccount(a *credential.Account) []byte {
	m := make(message, 0, recordRoom+len(a.AccessToken)+len(a.RefreshToken))
	m.text(1, string(a.Kind))
	m.text(2, a.Integration)
	m.text(3, a.Provider)
	m.text(4, string(a.State))
	m.text(5, a.Reason)
	for _, s := range a.Scopes {
		m.element(6, valid(s))
	}
	m.number(7, a.Generation)
	m.text(8, a.TokenType)
	m.text(9, a.Username)
	m.bytes(10, a.AccessToken)
	m.bytes(11, a.RefreshToken)
	m.number(12, a.RefreshGeneration)
	m.time(13, a.ExpiresAt)
	m.time(14, a.RefreshExpiresAt)
	m.time(15, a.NextRefreshAt)
	m.time(16, a.LastRefreshAt)
	m.time(17, a.CreatedAt)
	m.time(18, a.UpdatedAt)
	m.number(19, uint64(a.Failures))
	if a.Claim != nil {
		m = appendBytes(m, 20, encodeClaim(a.Claim)) // also where all of it is zero
	}
	m.number(21, a.HistoryNext)
	m.flag(22, a.ExpiryAssumed)
	m.number(23, uint64(a.LearnedLifetime))
	m.number(24, uint64(a.Refusals))
	m.texts(25, a.Variables)
	m.texts(26, a.Facts)
	m.bytes(27, a.Subject)
	for _, s := range a.RequestedScopes {
		m.element(28, strings.ToValidUTF8(s, "\uFFFD"))
	}
	return m
}

func encodeClaim(c *credential.Claim) []byte {
	m := make(message, 0, 128)
	m.text(1, c.Attempt)
	m.number(2, c.Generation)
	m.text(3, c.Node)
	m.text(4, c.Boot)
	m.number(5, c.Term)
	m.time(6, c.At)
	m.number(7, uint64(c.Lifetime))
	m.flag(8, c.Uncertain)
	m.flag(9, c.Interrupted)
	return m
}

func encodeLine(l *credential.Line) []byte {
	m := make(message, 0, 128)
	m.time(1, l.At)
	m.text(2, string(l.What))
	m.text(3, l.Reason)
	m.text(4, l.Detail)
	m.number(5, l.Generation)
	m.text(6, l.Attempt)
	m.text(7, l.Node)
	return m
}

func encodeEvent(e *credential.Event) []byte {
	m := make(message, 0, 128)
	m.text(1, e.ID)
	m.text(2, string(e.Type))
	m.text(3, e.Ref.Tenant)
	m.text(4, e.Ref.ID)
	m.time(5, e.At)
	m.text(6, e.Reason)
	m.number(7, e.Generation)
	m.text(8, e.Integration)
	return m
}
