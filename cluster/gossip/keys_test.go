package gossip

import (
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	keyA = "the first key of three, 32 bytes"
	keyB = "the second key, also of 32 bytes"
	keyC = "a third one, hmm, it has 32, too"
)

func keys(ks ...string) func() ([][]byte, error) {
	var ring [][]byte
	for _, k := range ks {
		ring = append(ring, []byte(k))
	}
	return func() ([][]byte, error) { return ring, nil }
}

// safe is a keyring that can be exchanged.
type safe struct {
	now atomic.Pointer[[]string]
}

func (s *safe) put(ks ...string) { s.now.Store(&ks) }

func (s *safe) read() ([][]byte, error) { return keys(*s.now.Load()...)() }

func TestKeysRotateWithoutLosingAMember(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		safes := make([]safe, 3)
		var all []*Gossip
		for i := range safes {
			safes[i].put(keyA)
			c := l.config(i + 1)
			c.Keyring = safes[i].read
			all = append(all, l.start(c))
		}
		const whole = "n1 alive, n2 alive, n3 alive"
		for _, g := range all {
			await(t, g, 10*time.Second, whole)
		}
		// Node after node, some by themselves, some when told.
		for _, step := range [][]string{{keyA, keyB}, {keyB, keyA}, {keyB}, {keyB, keyC}, {keyC, keyB}, {keyC}} {
			for i, g := range all {
				safes[i].put(step...)
				if i == 1 {
					if err := g.Reload(); err != nil {
						t.Fatal(err)
					}
				} else {
					stays(t, g, 15*time.Second, whole)
				}
				stays(t, all[(i+1)%3], 15*time.Second, whole)
			}
		}
		for i, g := range all {
			if got, _ := safes[i].read(); !reflect.DeepEqual(g.ring.GetKeys(), got) {
				t.Errorf("%s does not have just the last key", g.conf.Name)
			}
		}
		// With the last key a new one joins, and news travel.
		c := l.config(4)
		c.Keyring = keys(keyC)
		four := l.start(c)
		await(t, four, 10*time.Second, whole+", n4 alive")
		await(t, all[2], 10*time.Second, whole+", n4 alive")
	})
}

func TestWrongKeyIsRefused(t *testing.T) {
	for name, ring := range map[string]func() ([][]byte, error){"wrong": keys(keyB), "none": nil} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				log, strangersLog := newLogbook(), newLogbook()
				c1, c2, c3 := l.config(1), l.config(2), l.config(3)
				c1.Keyring, c2.Keyring, c3.Keyring = keys(keyA, keyC), keys(keyA), ring
				c1.Logger, c2.Logger, c3.Logger = log.logger(), log.logger(), strangersLog.logger()
				one, two, stranger := l.start(c1), l.start(c2), l.start(c3)
				await(t, one, 10*time.Second, "n1 alive, n2 alive")
				stays(t, stranger, time.Minute, "n3 alive")
				stays(t, two, time.Minute, "n1 alive, n2 alive")
				awaitLine(t, log, "10.0.0.3")
				awaitLine(t, strangersLog, "no other node was found")
				for _, k := range []string{keyA, keyB, keyC} {
					if strings.Contains(log.String()+strangersLog.String(), k[:8]) {
						t.Error("a log shows a key")
					}
				}
			})
		})
	}
}

// TestUnreadableKeyringChangesNothing, and least of all does it switch
// encryption off.
func TestUnreadableKeyringChangesNothing(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		log := newLogbook()
		var fail atomic.Bool
		var s safe
		s.put(keyA)
		c := l.config(1)
		c.Logger = log.logger()
		c.Keyring = func() ([][]byte, error) {
			if fail.Load() {
				return nil, errors.New("the file is gone")
			}
			return s.read()
		}
		g := l.start(c)
		fail.Store(true)
		if err := g.Reload(); err == nil || !strings.Contains(err.Error(), "the file is gone") {
			t.Errorf("reading fails: %v", err)
		}
		fail.Store(false)
		for _, bad := range [][]string{{}, {"short"}, {keyA, ""}} {
			s.put(bad...)
			if err := g.Reload(); err == nil {
				t.Errorf("%q is taken", bad)
			}
		}
		if got := g.ring.GetKeys(); len(got) != 1 || string(got[0]) != keyA {
			t.Errorf("the keys have changed")
		}
		awaitLine(t, log, "the keys stay as they are")
		mustClose(t, g)
		if err := g.Reload(); !errors.Is(err, ErrClosed) {
			t.Errorf("when closed: %v", err)
		}
	})
}

func TestTurnedKeyringHoldsTheWantedKeysOnly(t *testing.T) {
	for _, c := range []struct{ has, want string }{
		{"a", "a"}, {"a", "ab"}, {"ab", "ba"}, {"ab", "b"}, {"ab", "a"}, {"abc", "ac"}, {"abcd", "ad"},
		{"abcd", "dcba"}, {"ab", "cd"}, {"abcde", "fb"}, {"a", "b"}, {"abc", "abc"},
	} {
		spread := func(s string) (ks [][]byte) {
			for _, r := range s {
				ks = append(ks, []byte(strings.Repeat(string(r), 16)))
			}
			return ks
		}
		ring, err := memberlist.NewKeyring(spread(c.has), spread(c.has)[0])
		if err != nil {
			t.Fatal(err)
		}
		changed, err := turn(ring, spread(c.want))
		if err != nil {
			t.Errorf("%s to %s: %v", c.has, c.want, err)
		}
		got := ring.GetKeys()
		if len(got) != len(c.want) || string(got[0]) != string(spread(c.want)[0]) {
			t.Errorf("%s to %s: %q", c.has, c.want, got)
		}
		for _, k := range spread(c.want) {
			if !contains(got, k) {
				t.Errorf("%s to %s: %q", c.has, c.want, got)
			}
		}
		if changed != (c.has != c.want) {
			t.Errorf("%s to %s: changed %v", c.has, c.want, changed)
		}
	}
}
