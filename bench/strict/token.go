package strict

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strings"
	"sync"
	"time"
)

// tokenKind is what a token is good for.
type tokenKind byte

const (
	kindAccess  tokenKind = 'a'
	kindRefresh tokenKind = 'r'
	kindCode    tokenKind = 'c'
	kindMachine tokenKind = 'm' // an access token of the client itself (RFC 6749 section 4.4)
)

// prefix begins the text of a token of this kind, so that people and searches
// can tell a token of this provider from anything else.
func (k tokenKind) prefix() string { return "strict_" + string(rune(k)) + "_" }

// token is what is written into a token: whose it is and which one in its
// line. Because each carries its place in the line under a MAC, a replay is
// seen by comparing two numbers, and no list of used tokens has to be kept.
type token struct {
	kind    tokenKind
	owner   uint64    // number of the grant, or of the client for kindMachine
	seq     uint64    // place in the line of the owner's tokens of this kind
	expires time.Time // to the millisecond; zero: the grant says when
	pad     uint32    // this many bytes of padding follow the token
}

const (
	payloadLen = 1 + 8 + 8 + 8 + 4
	macLen     = 16
	textLen    = (payloadLen + macLen) / 3 * 4 // a multiple of 3: one text for each token
	padMark    = "."
	maxPad     = 1 << 20
)

// mint writes and reads tokens under a key that is drawn anew for each
// provider, so tokens of an earlier one are unknown to it. Safe for concurrent use.
type mint struct{ macs sync.Pool }

func newMint() *mint {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	m := &mint{}
	m.macs.New = func() any { return hmac.New(sha256.New, key) }
	return m
}

func (m *mint) mac(dst, payload []byte) []byte {
	h := m.macs.Get().(hash.Hash)
	h.Reset()
	_, _ = h.Write(payload)
	var sum [sha256.Size]byte
	dst = append(dst, h.Sum(sum[:0])[:macLen]...)
	m.macs.Put(h)
	return dst
}

// write returns the text of a token.
func (m *mint) write(t token) string {
	var buf [payloadLen + macLen]byte
	b := append(buf[:0], byte(t.kind))
	b = binary.BigEndian.AppendUint64(b, t.owner)
	b = binary.BigEndian.AppendUint64(b, t.seq)
	var expires int64
	if !t.expires.IsZero() {
		expires = t.expires.UnixMilli()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	b = binary.BigEndian.AppendUint32(b, t.pad)
	b = m.mac(b, b)
	text := make([]byte, 0, 16+textLen)
	text = append(text, t.kind.prefix()...)
	text = base64.RawURLEncoding.AppendEncode(text, b)
	if t.pad == 0 {
		return string(text)
	}
	return string(text) + padMark + strings.Repeat("x", int(t.pad))
}

// read returns the token of a text, and whether this mint wrote it, whole.
func (m *mint) read(text string) (token, bool) {
	rest, ok := strings.CutPrefix(text, "strict_")
	if !ok || len(rest) < 2+textLen || rest[1] != '_' {
		return token{}, false
	}
	kind, body, pad := tokenKind(rest[0]), rest[2:2+textLen], rest[2+textLen:]
	var buf [payloadLen + macLen]byte
	if n, err := base64.RawURLEncoding.Decode(buf[:], []byte(body)); err != nil || n != len(buf) {
		return token{}, false
	}
	var want [macLen]byte
	if !hmac.Equal(m.mac(want[:0], buf[:payloadLen]), buf[payloadLen:]) {
		return token{}, false
	}
	t := token{
		kind:  tokenKind(buf[0]),
		owner: binary.BigEndian.Uint64(buf[1:]),
		seq:   binary.BigEndian.Uint64(buf[9:]),
		pad:   binary.BigEndian.Uint32(buf[25:]),
	}
	if ms := int64(binary.BigEndian.Uint64(buf[17:])); ms != 0 {
		t.expires = time.UnixMilli(ms)
	}
	wantPad := 0
	if t.pad > 0 {
		wantPad = len(padMark) + int(t.pad)
	}
	if t.kind != kind || len(pad) != wantPad {
		return token{}, false
	}
	return t, true
}

// TokenHash names a token in the record without giving it away: the first
// eight bytes of its SHA-256, in hexadecimal. The empty token has none.
func TokenHash(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
