package ring

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// nodes returns n names.
func nodes(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	return names
}

// problem says which promise a placement breaks; "" if none.
func problem(shards, replicas int, members []string, got [][]string) string {
	names := slices.Compact(slices.Sorted(slices.Values(members)))
	n, size := len(names), min(max(replicas, 1), len(names))
	if len(got) != shards {
		return fmt.Sprintf("%d lists, want %d", len(got), shards)
	}
	owned, held := map[string]int{}, map[string]int{}
	for shard, list := range got {
		if len(list) != size {
			return fmt.Sprintf("shard %d has %d replicas, want %d", shard, len(list), size)
		}
		for i, name := range list {
			if _, ok := slices.BinarySearch(names, name); !ok {
				return fmt.Sprintf("shard %d is on %s, which is no member", shard, name)
			}
			if slices.Contains(list[:i], name) {
				return fmt.Sprintf("shard %d is on %s twice", shard, name)
			}
			held[name]++
		}
		if size > 0 {
			owned[list[0]]++
		}
	}
	for _, name := range names {
		if low, high := shards/n, (shards+n-1)/n; owned[name] < low || owned[name] > high {
			return fmt.Sprintf("%s owns %d shards, want %d to %d", name, owned[name], low, high)
		}
		if low, high := shards*size/n, (shards*size+n-1)/n; held[name] < low || held[name] > high {
			return fmt.Sprintf("%s holds %d replicas, want %d to %d", name, held[name], low, high)
		}
	}
	return ""
}

// moved counts the replicas of after that are not in before: what has to be
// copied.
func moved(before, after [][]string) int {
	n := 0
	for shard, list := range after {
		for _, name := range list {
			if shard >= len(before) || !slices.Contains(before[shard], name) {
				n++
			}
		}
	}
	return n
}

// least is how many units must change hands at the very least so that all
// members have equal shares of total, given what each has now.
func least(total int, members []string, has map[string]int) int {
	var counts []int
	for _, name := range members {
		counts = append(counts, has[name])
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	n, sum := len(members), 0
	for rank, c := range counts {
		share := total / n
		if rank < total%n {
			share++
		}
		sum += max(0, share-c)
	}
	return sum
}

func TestPlacementIsLevelAndWhole(t *testing.T) {
	for _, shards := range []int{0, 1, 2, 7, 32, 128, 1000} {
		for _, replicas := range []int{1, 2, 3, 5} {
			for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 12, 40} {
				got := Place(shards, replicas, nodes(n), nil)
				if p := problem(shards, replicas, nodes(n), got); p != "" {
					t.Errorf("%d shards, %d replicas, %d members: %s", shards, replicas, n, p)
				}
			}
		}
	}
}

func TestPlacementDoesNotDependOnTheOrderOfMembers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	members, before := nodes(9), Place(64, 3, nodes(7), nil)
	want := Place(64, 3, members, before)
	for range 20 {
		r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		if got := Place(64, 3, append(members, members[:3]...), before); !reflect.DeepEqual(got, want) {
			t.Fatalf("with %v:\n%v, want\n%v", members, got, want)
		}
	}
}

// TestPlacementIsTheSameInEveryVersion pins some values: nodes of two versions
// that take turns in placing must not move shards to and fro.
func TestPlacementIsTheSameInEveryVersion(t *testing.T) {
	got := Place(4, 2, []string{"n1", "n2", "n3"}, nil)
	want := [][]string{{"n2", "n1"}, {"n1", "n3"}, {"n3", "n2"}, {"n2", "n3"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("new: %v, want %v", got, want)
	}
	got = Place(4, 2, []string{"n1", "n2", "n3", "n4"}, got)
	want = [][]string{{"n2", "n1"}, {"n1", "n4"}, {"n3", "n2"}, {"n4", "n3"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("with one more: %v, want %v", got, want)
	}
}

func TestPlacingAgainChangesNothing(t *testing.T) {
	for n := range 12 {
		once := Place(100, 3, nodes(n), nil)
		if again := Place(100, 3, nodes(n), once); !reflect.DeepEqual(again, once) {
			t.Errorf("%d members: %v, before %v", n, again, once)
		}
	}
}

// TestJoinMovesTheNewMembersShareOnly: 1/(n+1) of the replicas, and nothing
// between the others.
func TestJoinMovesTheNewMembersShareOnly(t *testing.T) {
	const shards, replicas = 256, 3
	for n := replicas; n < 20; n++ {
		before := Place(shards, replicas, nodes(n), nil)
		after := Place(shards, replicas, nodes(n+1), before)
		share := shards * replicas / (n + 1)
		if got := moved(before, after); got < share || got > share+share/20+2 {
			t.Errorf("the %dth member moves %d replicas, want about %d", n+1, got, share)
		}
		led := 0
		for shard := range after {
			if after[shard][0] != before[shard][0] {
				led++
			}
		}
		if share := shards / (n + 1); led < share || led > share+share/2+2 {
			t.Errorf("the %dth member moves the ownership of %d shards, want about %d", n+1, led, share)
		}
	}
}

// TestLeaveMovesWhatTheLeaverHeldOnly, and what it held goes to all others.
func TestLeaveMovesWhatTheLeaverHeldOnly(t *testing.T) {
	const shards, replicas = 256, 3
	for n := replicas + 2; n < 20; n++ {
		before := Place(shards, replicas, nodes(n), nil)
		held := 0
		for _, list := range before {
			if slices.Contains(list, "n1") {
				held++
			}
		}
		after := Place(shards, replicas, nodes(n)[1:], before)
		if p := problem(shards, replicas, nodes(n)[1:], after); p != "" {
			t.Errorf("%d members: %s", n, p)
		}
		if got := moved(before, after); got < held || got > held+held/20+2 {
			t.Errorf("one of %d leaves: %d replicas move, want about the %d that it held", n, got, held)
		}
		led, cold := 0, 0
		for shard, list := range after {
			if before[shard][0] != list[0] {
				led++
			}
			if !slices.Contains(before[shard], list[0]) {
				cold++
			}
		}
		if share := shards/n + 1; led > share+share/4+2 || cold > share/2 {
			t.Errorf("one of %d leaves: %d shards get another owner, want about %d; %d of them one that has no data yet", n, led, share, cold)
		}
	}
}

// TestReplicasCanBeMoreOrFewer: raising the number copies what is missing,
// lowering it copies nothing but for balance.
func TestReplicasCanBeMoreOrFewer(t *testing.T) {
	const shards = 96
	three := Place(shards, 3, nodes(6), nil)
	five := Place(shards, 5, nodes(6), three)
	if got := moved(three, five); got > 2*shards+10 {
		t.Errorf("3 to 5 replicas moves %d, want about %d", got, 2*shards)
	}
	if got := moved(five, Place(shards, 3, nodes(6), five)); got > 5 {
		t.Errorf("5 to 3 replicas moves %d, want about none", got)
	}
}

// TestMovesAreNearTheMinimum follows random histories of joins and leaves,
// where the least possible number of moves is known at each step.
func TestMovesAreNearTheMinimum(t *testing.T) {
	var moves, minimum, led, leastLed int
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 3))
		shards, replicas := []int{1, 7, 32, 128, 512}[r.IntN(5)], 1+r.IntN(5)
		var members []string
		var before [][]string
		for step := range 30 {
			for range 1 + r.IntN(2) {
				if len(members) == 0 || len(members) < 20 && r.IntN(2) == 0 {
					members = append(members, fmt.Sprintf("n%d-%d", seed, step*2+r.IntN(2)))
				} else {
					i := r.IntN(len(members))
					members = slices.Delete(members, i, i+1)
				}
			}
			members = slices.Compact(slices.Sorted(slices.Values(members)))
			after := Place(shards, replicas, members, before)
			if p := problem(shards, replicas, members, after); p != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, p)
			}
			held, owned := map[string]int{}, map[string]int{}
			for _, list := range before {
				for i, name := range list {
					held[name]++
					if i == 0 {
						owned[name]++
					}
				}
			}
			if len(members) > 0 {
				m, b := moved(before, after), least(shards*min(replicas, len(members)), members, held)
				if m > b+b/8+8 {
					t.Errorf("seed %d, step %d: %d shards, %d replicas, %d members: %d moves, %d are enough", seed, step, shards, replicas, len(members), m, b)
				}
				moves, minimum = moves+m, minimum+b
				for shard, list := range after {
					if shard < len(before) && len(before[shard]) > 0 && list[0] != before[shard][0] {
						led++
					}
				}
				if len(before) > 0 && len(before[0]) > 0 {
					leastLed += least(shards, members, owned)
				}
			}
			before = after
		}
	}
	if moves > minimum+minimum/200 || led > leastLed+leastLed/100 {
		t.Errorf("%d moves and %d changes of owners in all, where %d and %d are the minimum", moves, led, minimum, leastLed)
	}
}

// TestAnyPlacementBeforeIsTaken: records may be damaged, of another size, or
// those of another cluster.
func TestAnyPlacementBeforeIsTaken(t *testing.T) {
	for _, before := range [][][]string{
		{},
		{nil, {}, nil},
		{{"n1", "n1", "n1"}, {"gone"}, {"n2", "gone", "n2"}},
		slices.Repeat([][]string{{"n1", "n2", "n3", "n4"}}, 100),
		slices.Repeat([][]string{{"n4"}}, 3),
		{{""}, {"\x00"}},
	} {
		given := fmt.Sprint(before)
		if p := problem(16, 3, nodes(4), Place(16, 3, nodes(4), before)); p != "" {
			t.Errorf("after %v: %s", before, p)
		}
		if fmt.Sprint(before) != given {
			t.Errorf("the caller's lists were changed: %v", before)
		}
	}
}

func FuzzPlaceKeepsItsPromises(f *testing.F) {
	f.Add(32, 3, uint8(5), []byte("some placement before"))
	f.Add(-1, -1, uint8(0), []byte(nil))
	f.Add(1<<40, 1<<40, uint8(1), []byte{0})
	f.Add(7, 9, uint8(40), []byte{1, 2, 3, 255, 255, 4, 4, 4})
	f.Fuzz(func(t *testing.T, shards, replicas int, n uint8, was []byte) {
		members := nodes(int(n % 50))
		// Each byte is a node on the list of the shard that it stands for by its
		// place, many of them unknown and doubled.
		before := make([][]string, len(was)/3+1)
		for i, b := range was {
			before[i/3] = append(before[i/3], fmt.Sprintf("n%d", b%64))
		}
		if shards > 2000 && n > 3 {
			shards %= 2000
		}
		got := Place(shards, replicas, members, before)
		if p := problem(min(max(shards, 0), MaxShards), replicas, members, got); p != "" {
			t.Error(p)
		}
		if again := Place(shards, replicas, members, got); !reflect.DeepEqual(again, got) {
			t.Errorf("placed again: %v, before %v", again, got)
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	before := Place(1024, 3, nodes(49), nil)
	for name, was := range map[string][][]string{"new": nil, "join": before} {
		b.Run(name, func(b *testing.B) {
			members := nodes(50)
			b.ReportAllocs()
			for b.Loop() {
				Place(1024, 3, members, was)
			}
		})
	}
}
