package gossip

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNodesFindEachOtherInWhateverOrderTheyStart(t *testing.T) {
	for _, order := range [][]int{{1, 2, 3}, {3, 2, 1}, {2, 3, 1}} {
		inLab(t, func(t *testing.T, l *lab) {
			var all []*Gossip
			for _, i := range order {
				all = append(all, l.node(i))
				<-time.After(time.Minute) // long enough to give up
			}
			for _, g := range all {
				await(t, g, 30*time.Second, "n1 alive, n2 alive, n3 alive")
			}
		})
	}
}

func TestNodesThatStartTogetherFindEachOtherAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		began := time.Now()
		all := l.trio()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, g := range all {
			for _, m := range g.Members() {
				if want := "10.0.0." + m.Name[1:] + ":7947"; m.Meta.RPC != want || m.Meta.Boot != "boot-"+m.Name[1:] || m.Addr != "10.0.0."+m.Name[1:]+":7946" {
					t.Errorf("%s knows %+v", g.conf.Name, m)
				}
				if age := time.Since(m.Since); age < 0 || age > 3*time.Second {
					t.Errorf("%s knows %s since %v", g.conf.Name, m.Name, age)
				}
			}
		}
	})
}

// TestGroupsThatFormedApartMeet: n4 and n5 know n1 only by a configuration that
// they could not use at first.
func TestGroupsThatFormedApartMeet(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.cut(true, []int{1, 2, 3}, []int{4, 5})
		l.trio()
		c4, c5 := l.config(4), l.config(5)
		c5.Join = []string{addr(4)}
		four, five := l.start(c4), l.start(c5)
		await(t, five, time.Minute, "n4 alive, n5 alive")
		<-time.After(5 * time.Minute)
		l.cut(false, []int{1, 2, 3}, []int{4, 5})
		await(t, four, time.Minute, "n1 alive, n2 alive, n3 alive, n4 alive, n5 alive")
		await(t, five, time.Minute, "n1 alive, n2 alive, n3 alive, n4 alive, n5 alive")
	})
}

func TestKilledNodeIsKnownDeadWithinSeconds(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		mustClose(t, all[2])
		began := time.Now()
		for _, g := range all[:2] {
			await(t, g, 6*time.Second, "n1 alive, n2 alive, n3 dead")
			dead := member(t, g, "n3")
			if dead.Since.Before(began) || dead.Meta.Boot != "boot-3" {
				t.Errorf("%s knows %+v", g.conf.Name, dead)
			}
		}
		stays(t, all[0], time.Hour, "n1 alive, n2 alive, n3 dead")
		if age := time.Since(member(t, all[0], "n3").Since); age < time.Hour || age > time.Hour+10*time.Second {
			t.Errorf("dead for %v, want an hour", age)
		}
	})
}

func TestNodeThatLeavesIsKnownToHaveLeftAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		began := time.Now()
		if err := all[2].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("leaving took %v", took)
		}
		for _, g := range all {
			if got := states(g); got != "n1 alive, n2 alive, n3 left" {
				t.Errorf("%s sees %s", g.conf.Name, got)
			}
		}
		mustClose(t, all[2])
		for _, g := range all[:2] {
			stays(t, g, 5*time.Minute, "n1 alive, n2 alive, n3 left")
		}
		if err := all[2].Leave(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("leaving when closed: %v", err)
		}
	})
}

// TestManyNodesLearnOfEachOther, of one that dies and of one that leaves,
// although most of them never talk to those.
func TestManyNodesLearnOfEachOther(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const n = 30
		var all []*Gossip
		for i := range n {
			all = append(all, l.node(i+1))
		}
		everybody := func(s State) func([]Member) bool {
			return func(ms []Member) bool {
				return len(ms) == n && !slices.ContainsFunc(ms, func(m Member) bool { return m.Name != "n20" && m.State != Alive || m.Name == "n20" && m.State != s })
			}
		}
		for _, g := range all {
			awaitThat(t, g, 30*time.Second, "all", everybody(Alive))
		}
		if err := all[19].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, all[19])
		for _, g := range all {
			awaitThat(t, g, 5*time.Second, "n20 left", everybody(Left))
		}
		c := l.config(20)
		c.Meta.Boot = "another"
		all[19] = l.start(c)
		for _, g := range all {
			awaitThat(t, g, 10*time.Second, "n20 again", everybody(Alive))
		}
		mustClose(t, all[19])
		for i, g := range all {
			if i != 19 {
				awaitThat(t, g, 15*time.Second, "n20 dead", everybody(Dead))
			}
		}
	})
}

// TestNodeThatMissedTheGoodByeLearnsOfItLater: it sees the other one dead first.
func TestNodeThatMissedTheGoodByeLearnsOfItLater(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		l.cut(true, []int{1}, []int{2, 3})
		if err := all[2].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, all[2])
		await(t, all[0], 30*time.Second, "n1 alive, n2 dead, n3 dead")
		since := member(t, all[0], "n3").Since
		l.cut(false, []int{1}, []int{2, 3})
		await(t, all[0], 2*time.Minute, "n1 alive, n2 alive, n3 left")
		if got := member(t, all[0], "n3").Since; !got.Equal(since) {
			t.Errorf("gone since %v, before %v", got, since)
		}
	})
}

func TestLeavingAloneOrInVainIsBounded(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		alone := l.node(4)
		began := time.Now()
		if err := alone.Leave(t.Context()); err != nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("alone: %v after %v", err, time.Since(began))
		}
		mustClose(t, alone)
		all := l.trio()
		l.cut(true, []int{1}, []int{2, 3})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := all[0].Leave(ctx); err == nil {
			t.Error("leaving with nobody to tell in time is no error")
		}
	})
}

// TestRestartedNodeIsAliveAgain: after it was seen dead, after it has left,
// before anybody has missed it, and at another address.
func TestRestartedNodeIsAliveAgain(t *testing.T) {
	for name, c := range map[string]struct {
		leave bool
		wait  time.Duration
		at    int
	}{
		"dead":               {wait: 20 * time.Second, at: 3},
		"dead for long":      {wait: time.Hour, at: 3},
		"left":               {leave: true, wait: time.Second, at: 3},
		"not missed":         {at: 3},
		"elsewhere, dead":    {wait: 20 * time.Second, at: 4},
		"elsewhere, left":    {leave: true, at: 4},
		"elsewhere, at once": {at: 4},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				all := l.trio()
				if c.leave {
					if err := all[2].Leave(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				mustClose(t, all[2])
				<-time.After(c.wait)
				conf := l.config(c.at)
				conf.Name, conf.Meta.Boot = "n3", "another"
				began := time.Now()
				again := l.start(conf)
				for _, g := range []*Gossip{all[0], all[1], again} {
					awaitThat(t, g, 30*time.Second, "n3 restarted", func([]Member) bool {
						m := member(t, g, "n3")
						return m.State == Alive && m.Meta.Boot == "another" && m.Addr == addr(c.at) && !m.Since.Before(began)
					})
					await(t, g, 30*time.Second, "n1 alive, n2 alive, n3 alive")
				}
				stays(t, all[0], 2*time.Minute, "n1 alive, n2 alive, n3 alive")
			})
		})
	}
}

func TestCutHeals(t *testing.T) {
	for _, d := range []time.Duration{10 * time.Second, 10 * time.Minute} {
		inLab(t, func(t *testing.T, l *lab) {
			all := l.trio()
			l.cut(true, []int{1}, []int{2, 3})
			await(t, all[0], 30*time.Second, "n1 alive, n2 dead, n3 dead")
			await(t, all[1], 10*time.Second, "n1 dead, n2 alive, n3 alive")
			<-time.After(d)
			l.cut(false, []int{1}, []int{2, 3})
			for _, g := range all {
				await(t, g, 30*time.Second, "n1 alive, n2 alive, n3 alive")
			}
			stays(t, all[0], time.Minute, "n1 alive, n2 alive, n3 alive")
		})
	}
}

// TestOneWayCutBetweenTwoIsSurvived: the third node vouches for both.
func TestOneWayCutBetweenTwoIsSurvived(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		l.cutOneWay(true, 1, 2)
		for _, g := range all {
			stays(t, g, time.Minute, "n1 alive, n2 alive, n3 alive")
		}
	})
}

// TestNodeThatNobodyHearsIsDead, and so are the others for it, though it hears
// them.
func TestNodeThatNobodyHearsIsDead(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		l.cutOneWay(true, 1, 2)
		l.cutOneWay(true, 1, 3)
		await(t, all[1], 10*time.Second, "n1 dead, n2 alive, n3 alive")
		await(t, all[0], time.Minute, "n1 alive, n2 dead, n3 dead")
		l.cutOneWay(false, 1, 2)
		l.cutOneWay(false, 1, 3)
		for _, g := range all {
			await(t, g, 30*time.Second, "n1 alive, n2 alive, n3 alive")
		}
	})
}

func TestNewMetadataReachesAll(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		since := member(t, all[1], "n1").Since
		want := Meta{Boot: "boot-1", RPC: "10.0.0.1:7947", HTTP: "10.0.0.1:8431", Version: "v1.2.3", DataID: "d1", Cluster: "c1"}
		if err := all[0].SetMeta(want); err != nil {
			t.Fatal(err)
		}
		if got := member(t, all[0], "n1").Meta; got != want {
			t.Errorf("the node itself has %+v", got)
		}
		for _, g := range all {
			awaitThat(t, g, 3*time.Second, "the new metadata", func([]Member) bool { return member(t, g, "n1").Meta == want })
		}
		if got := member(t, all[1], "n1").Since; !got.Equal(since) {
			t.Errorf("alive since %v, before %v", got, since)
		}
		for _, bad := range []Meta{{}, {Boot: "other"}, {Boot: "boot-1", RPC: strings.Repeat("x", 300)}} {
			if err := all[0].SetMeta(bad); err == nil {
				t.Errorf("%+v is taken", bad)
			}
		}
		if got := member(t, all[0], "n1").Meta; got != want {
			t.Errorf("after bad ones the node has %+v", got)
		}
	})
}

// TestMetadataChangedBeforeAnybodyWasFoundReachesAll.
func TestMetadataChangedBeforeAnybodyWasFoundReachesAll(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		one := l.node(1)
		if err := one.SetMeta(Meta{Boot: "boot-1", Cluster: "c1"}); err != nil {
			t.Fatal(err)
		}
		two := l.node(2)
		awaitThat(t, two, 10*time.Second, "n1 in c1", func(ms []Member) bool { return ms[0].Name == "n1" && ms[0].Meta.Cluster == "c1" })
	})
}

func TestGoneMembersAreForgotten(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := l.config(1)
		c.Timing.Forget = time.Hour
		one, two, three := l.start(c), l.node(2), l.node(3)
		for _, g := range []*Gossip{one, two, three} {
			await(t, g, 10*time.Second, "n1 alive, n2 alive, n3 alive")
		}
		if err := three.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, two)
		mustClose(t, three)
		await(t, one, 10*time.Second, "n1 alive, n2 dead, n3 left")
		stays(t, one, 59*time.Minute, "n1 alive, n2 dead, n3 left")
		await(t, one, 10*time.Minute, "n1 alive")
	})
}

func TestSecondNodeOfANameIsRefused(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		all := l.trio()
		log := newLogbook()
		c := l.config(4)
		c.Name, c.Logger = "n2", log.logger()
		second := l.start(c)
		stays(t, all[0], time.Minute, "n1 alive, n2 alive, n3 alive")
		for _, g := range all {
			if m := member(t, g, "n2"); m.Addr != addr(2) || m.Meta.Boot != "boot-2" {
				t.Errorf("%s takes %s for n2", g.conf.Name, m.Addr)
			}
		}
		if got := states(second); got != "n2 alive" {
			t.Errorf("the second one sees %s", got)
		}
		awaitLine(t, log, `level=ERROR msg="gossip: another node, at 10.0.0.2:7946, has this node's name`)
		mustClose(t, all[1])
		await(t, second, time.Minute, "n1 alive, n2 alive, n3 alive")
	})
}

func TestCloseEndsAlsoWhatCannotConnect(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.cut(true, []int{1}, []int{2, 3})
		one := l.node(1)
		<-time.After(time.Second) // it is waiting for the two by now
		began := time.Now()
		mustClose(t, one)
		if took := time.Since(began); took > time.Second {
			t.Errorf("closing took %v", took)
		}
		mustClose(t, one)
		if err := one.Reload(); err != nil {
			t.Errorf("there is nothing to reload: %v", err)
		}
	})
}

func TestBadConfigurationIsRefused(t *testing.T) {
	good := Config{Name: "n1", Bind: "127.0.0.1:0", Meta: Meta{Boot: "b"}}
	for name, spoil := range map[string]func(*Config){
		"no name":           func(c *Config) { c.Name = "" },
		"bad name":          func(c *Config) { c.Name = "a b" },
		"no boot":           func(c *Config) { c.Meta.Boot = "" },
		"nowhere to listen": func(c *Config) { c.Bind = "" },
		"bad bind":          func(c *Config) { c.Bind = "localhost" },
		"foreign bind":      func(c *Config) { c.Bind = "192.0.2.1:7946" },
		"bad advertise":     func(c *Config) { c.Advertise = "0.0.0.0:7946" },
		"all of IPv6":       func(c *Config) { c.Bind = "[::]:0" },
		"a zone":            func(c *Config) { c.Bind = "[fe80::1%lo]:0" },
		"bad join":          func(c *Config) { c.Join = []string{"host"} },
		"probes overlap":    func(c *Config) { c.Timing.ProbeTimeout = time.Second },
		"time runs back":    func(c *Config) { c.Timing.Sync = -1 },
		"no keys":           func(c *Config) { c.Keyring = func() ([][]byte, error) { return nil, nil } },
		"short key":         func(c *Config) { c.Keyring = keys("short") },
		"no keyring":        func(c *Config) { c.Keyring = func() ([][]byte, error) { return nil, errors.New("no file") } },
	} {
		c := good
		spoil(&c)
		if g, err := Start(c); err == nil {
			mustClose(t, g)
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "short") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}
