package gossip

import (
	"fmt"
	"testing"
	"time"
)

// TestBookOfAMember follows one member through what memberlist and its notes
// tell of it, in orders that do happen.
func TestBookOfAMember(t *testing.T) {
	const alive, reborn, missing, bye, byeReborn, byeOther = "alive", "reborn", "missing", "bye", "byeReborn", "byeOther"
	for _, c := range []struct {
		events []string
		want   State // 0: not listed
		since  int   // the event that it is in the state since
	}{
		{[]string{alive}, Alive, 0},
		{[]string{alive, alive}, Alive, 0},
		{[]string{missing}, 0, 0},
		{[]string{bye}, 0, 0},
		{[]string{alive, missing}, Dead, 1},
		{[]string{alive, missing, missing}, Dead, 1},
		{[]string{alive, missing, alive}, Alive, 2},
		{[]string{alive, bye}, Left, 1},
		{[]string{alive, bye, missing}, Left, 1},
		{[]string{alive, missing, bye}, Left, 1},
		{[]string{alive, bye, alive}, Left, 1}, // an old message that was late
		{[]string{alive, bye, missing, alive}, Left, 1},
		{[]string{alive, byeOther}, Alive, 0},
		{[]string{alive, missing, byeOther}, Dead, 1},
		{[]string{alive, reborn}, Alive, 1},
		{[]string{alive, missing, reborn}, Alive, 2},
		{[]string{alive, bye, missing, reborn}, Alive, 3},
		{[]string{alive, reborn, bye}, Alive, 1},
		{[]string{alive, bye, reborn, missing}, Dead, 3},
		{[]string{alive, bye, reborn, byeReborn}, Left, 3},
	} {
		b, start := newBook("self"), time.Now()
		for i, e := range c.events {
			now := start.Add(time.Duration(i) * time.Second)
			switch e {
			case alive:
				b.answers("n", "a", Meta{Boot: "1"}, now)
			case reborn:
				b.answers("n", "a", Meta{Boot: "2"}, now)
			case missing:
				b.missing("n", now)
			case bye:
				b.bye(note{"n", "1"}, now)
			case byeReborn:
				b.bye(note{"n", "2"}, now)
			case byeOther:
				b.bye(note{"n", "3"}, now)
			}
		}
		m, ok := b.get("n")
		if ok != (c.want != 0) || m.State != c.want {
			t.Errorf("%v: %v, want %v", c.events, m.State, c.want)
		}
		if since := start.Add(time.Duration(c.since) * time.Second); ok && !m.Since.Equal(since) {
			t.Errorf("%v: since event %v, want %d", c.events, m.Since.Sub(start), c.since)
		}
	}
}

func TestBookTellsWhetherAnythingChanged(t *testing.T) {
	b, now := newBook("self"), time.Now()
	for i, c := range []struct{ got, want bool }{
		{b.missing("n", now), false},
		{b.answers("n", "a", Meta{Boot: "1"}, now), true},
		{b.answers("n", "a", Meta{Boot: "1"}, now.Add(1)), false},
		{b.answers("n", "b", Meta{Boot: "1"}, now.Add(1)), true},
		{b.answers("n", "b", Meta{Boot: "1", RPC: "r"}, now.Add(1)), true},
		{b.bye(note{"n", "2"}, now.Add(2)), false},
		{b.bye(note{"n", "1"}, now.Add(2)), true},
		{b.bye(note{"n", "1"}, now.Add(3)), false},
		{b.missing("n", now.Add(3)), false},
	} {
		if c.got != c.want {
			t.Errorf("step %d: %v", i, c.got)
		}
	}
	b.close()
	if b.answers("n", "a", Meta{Boot: "3"}, now) || b.list()[0].Meta.Boot != "1" {
		t.Error("a closed book changes")
	}
}

func TestBookForgetsTheLongestGone(t *testing.T) {
	b, start := newBook("self"), time.Now()
	b.answers("self", "", Meta{Boot: "1"}, start)
	b.answers("alive", "", Meta{Boot: "1"}, start)
	for i := range 10 {
		name := fmt.Sprintf("n%d", i)
		b.answers(name, "", Meta{Boot: "1"}, start)
		b.missing(name, start.Add(time.Duration(i)*time.Second))
	}
	b.bye(note{"self", "1"}, start)
	b.forget(start.Add(10*time.Second), 6*time.Second, 100)
	if got := names(b); got != "alive n5 n6 n7 n8 n9 self " {
		t.Errorf("after 6 s: %s", got)
	}
	b.forget(start.Add(10*time.Second), time.Hour, 2)
	if got := names(b); got != "alive n8 n9 self " {
		t.Errorf("at most two: %s", got)
	}
}

func names(b *book) (s string) {
	for _, m := range b.list() {
		s += m.Name + " "
	}
	return s
}
