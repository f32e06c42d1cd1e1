package strict

import (
	"testing"
	"time"
)

func TestTokensAreReadBackAsWritten(t *testing.T) {
	m := newMint()
	for _, want := range []token{
		{kind: kindAccess, owner: 1, seq: 1, expires: time.UnixMilli(1_700_000_000_123)},
		{kind: kindRefresh, owner: 1 << 40, seq: 1 << 60},
		{kind: kindMachine, owner: 3, seq: 9, expires: time.UnixMilli(1), pad: 100},
	} {
		got, ok := m.read(m.write(want))
		if !ok || got != want {
			t.Errorf("wrote %+v, read %+v, %v", want, got, ok)
		}
	}
}

// Every single change of a token makes it foreign; so does another mint.
func TestChangedTokensAreForeign(t *testing.T) {
	m := newMint()
	text := m.write(token{kind: kindRefresh, owner: 5, seq: 7})
	for i := range len(text) {
		for _, c := range []byte("Aa_-.9") {
			if changed := text[:i] + string(c) + text[i+1:]; changed != text {
				if got, ok := m.read(changed); ok {
					t.Fatalf("with %q at %d it reads as %+v", c, i, got)
				}
			}
		}
	}
	if _, ok := newMint().read(text); ok {
		t.Fatal("another mint takes it for its own")
	}
}

func FuzzReadToken(f *testing.F) {
	m := newMint()
	f.Add(m.write(token{kind: kindRefresh, owner: 5, seq: 7}))
	f.Add(m.write(token{kind: kindAccess, owner: 5, seq: 7, expires: time.UnixMilli(1), pad: 3}))
	f.Add("")
	f.Add("strict_r_")
	f.Fuzz(func(t *testing.T, text string) {
		if tok, ok := m.read(text); ok && m.write(tok) != text {
			t.Fatalf("%q reads as %+v, which is written %q", text, tok, m.write(tok))
		}
	})
}
