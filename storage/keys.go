package storage

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

// The keys of the one Pebble:
//
//	f                          format version
//	j | key                    journal of this node
//	n | name                   records of this node alone
//	l | group | index          raft log
//	s | group | name           raft's term and vote; where a destroyed log ended
//	d | group | 0x00           applied index, term, configuration
//	d | group | 0x01 | key     replicated state
//
// group is 2 bytes and index 8, big endian. The applied index lies inside the
// group's span of state, so that installing a snapshot swaps both at once.
const (
	tagFormat  = 'f'
	tagJournal = 'j'
	tagLocal   = 'n'
	tagLog     = 'l'
	tagStable  = 's'
	tagState   = 'd'

	subApplied = 0x00
	subState   = 0x01
	subEnd     = 0x02
)

// groupKeyLen is the length of tag and group.
const groupKeyLen = 3

func appendGroup(b []byte, tag byte, group uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, tag), group)
}

func logKey(group uint16, index uint64) []byte {
	b := make([]byte, 0, groupKeyLen+8)
	return binary.BigEndian.AppendUint64(appendGroup(b, tagLog, group), index)
}

// logEnd is above every key of the group's log.
func logEnd(group uint16) []byte {
	b := appendGroup(make([]byte, 0, groupKeyLen+9), tagLog, group)
	return append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
}

func stableKey(group uint16, name []byte) []byte {
	return append(appendGroup(make([]byte, 0, groupKeyLen+len(name)), tagStable, group), name...)
}

func appliedKey(group uint16) []byte {
	return append(appendGroup(nil, tagState, group), subApplied)
}

// appendStateKey appends the full key of a key of the group's state to b.
func appendStateKey(b []byte, group uint16, key []byte) []byte {
	return append(append(appendGroup(b, tagState, group), subState), key...)
}

// stateEnd is above every key of the group's state.
func stateEnd(group uint16) []byte {
	return append(appendGroup(nil, tagState, group), subEnd)
}

// The keys within a shard's state:
//
//	a | tenant 0x00 id             account record
//	h | tenant 0x00 id 0x00 number line of history
//	t | time | tenant 0x00 id      schedule: when it is to be refreshed; the
//	                               value is its integration
//	r | time | tenant 0x00 id 0x00 revocation
//	                               grant to be revoked, and when that is tried
//	e                              bounds of the outbox
//	e | number                     event
//	w                              how far the outbox was taken in for webhooks
//	w 0x01 | webhook               what is known of an end point
//	w 0x02 | webhook 0x00 | place  a delivery that is pending or parked
//	w 0x03 | webhook 0x00 | place  one that was made
//	w 0x04 | webhook 0x00 | subject 0x00 position
//	                               the order of an account's pending deliveries;
//	                               the value is the rest of the place
//	w 0x05 | webhook 0x00 | time | position
//	                               when pending ones are tried; the same value
//
// The group of what is no account has the last two tags, too, beside keys of the
// registry, none of which has a byte below 0x20.
//
// Names hold no 0x00 (credential.CheckName), and nothing sorts below it, so
// that accounts come in the order of tenant and id.
const (
	tagAccount  = 'a'
	tagHistory  = 'h'
	tagSchedule = 't'
	tagEvent    = 'e'
	tagWebhook  = 'w'
	tagRevoke   = 'r'

	subStanding  = 0x01
	subOpen      = 0x02
	subDelivered = 0x03
	subQueue     = 0x04
	subDue       = 0x05

	separator = 0x00
	timeLen   = 12
)

func appendRef(b []byte, ref credential.Ref) []byte {
	b = append(b, ref.Tenant...)
	b = append(b, separator)
	return append(b, ref.ID...)
}

func parseRef(b []byte) (credential.Ref, error) {
	tenant, id, ok := strings.Cut(string(b), string(rune(separator)))
	if !ok {
		return credential.Ref{}, damaged("account name in a key", fmt.Errorf("%q has no separator", b))
	}
	return credential.Ref{Tenant: tenant, ID: id}, nil
}

func accountKey(ref credential.Ref) []byte {
	b := make([]byte, 0, 2+len(ref.Tenant)+len(ref.ID))
	return appendRef(append(b, tagAccount), ref)
}

// appendHistoryPrefix appends what all lines of one account begin with.
func appendHistoryPrefix(b []byte, ref credential.Ref) []byte {
	return append(appendRef(append(b, tagHistory), ref), separator)
}

func historyKey(ref credential.Ref, number uint64) []byte {
	b := make([]byte, 0, 3+len(ref.Tenant)+len(ref.ID)+8)
	return binary.BigEndian.AppendUint64(appendHistoryPrefix(b, ref), number)
}

// appendTime appends 12 bytes that sort as the times do.
func appendTime(b []byte, t time.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Unix())^(1<<63))
	return binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

func parseTime(b []byte) time.Time {
	sec := int64(binary.BigEndian.Uint64(b) ^ (1 << 63))
	return time.Unix(sec, int64(binary.BigEndian.Uint32(b[8:]))).UTC()
}

func scheduleKey(at time.Time, ref credential.Ref) []byte {
	b := make([]byte, 0, 2+timeLen+len(ref.Tenant)+len(ref.ID))
	return appendRef(appendTime(append(b, tagSchedule), at), ref)
}

// parseSchedule reads an entry of the schedule; the value is the integration.
func parseSchedule(key, value []byte) (credential.Due, error) {
	if len(key) < 1+timeLen {
		return credential.Due{}, damaged("key of the schedule", fmt.Errorf("%d bytes are too few", len(key)))
	}
	ref, err := parseRef(key[1+timeLen:])
	return credential.Due{At: parseTime(key[1:]), Ref: ref, Integration: string(value)}, err
}

// appendNumber makes the key of a numbered value of a list.
func appendNumber(prefix []byte, number uint64) []byte {
	b := make([]byte, 0, len(prefix)+8)
	return binary.BigEndian.AppendUint64(append(b, prefix...), number)
}

// after returns the smallest key above key.
func after(key []byte) []byte { return append(key[:len(key):len(key)], 0) }

// prefixEnd returns the smallest key above all that begin with the prefix; nil
// where there is none.
func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
