package ring

import (
	"cmp"
	"slices"
)

// Place proposes which members hold which shard. Element i of the result lists
// distinct members in order of preference for shard i; the first one is the
// preferred owner. There are min(replicas, number of members) in each list, so
// none when there are no members.
//
// Ownership and replicas are level: no two members differ by more than one
// shard that they own, nor by more than one replica that they hold. A member
// that is not in members is in no list.
//
// before is the placement that holds now, nil if there is none. It counts,
// because a replica that moves copies a whole shard over the network, while a
// pure hash knows only where shards should be and not where they are: what is
// in before stays, as far as level loads allow. Lists in it may be of any
// length and hold names that are gone, doubled or unknown. Placing again what
// was placed changes nothing.
//
// The result depends on the arguments only, not on the order of members, in
// which doubles count once. shards and replicas outside of their bounds, 0 to
// [MaxShards] and 1 up, are taken as the nearest bound. The lists belong to the
// caller.
//
// DESIGN.md in this folder says how it works and what it costs.
func Place(shards, replicas int, members []string, before [][]string) [][]string {
	p := newPlacement(min(max(shards, 0), MaxShards), replicas, members)
	p.keep(before)
	p.fill()
	p.level()
	p.elect(before)
	return p.named()
}

// placement is a placement in the making. Members go by their index in names.
type placement struct {
	names []string // sorted, so that the caller's order does not matter
	seeds []uint64 // a hash of each name
	lists [][]int  // of each shard; what it had before first, in that order
	size  int      // of a list that is complete
	held  []int    // replicas of each member
	fair  []int    // what held should be: the floor or ceiling of an equal share
}

func newPlacement(shards, replicas int, members []string) *placement {
	names := slices.Compact(slices.Sorted(slices.Values(members)))
	p := &placement{
		names: names,
		seeds: make([]uint64, len(names)),
		lists: make([][]int, shards),
		size:  min(max(replicas, 1), len(names)),
		held:  make([]int, len(names)),
	}
	for i, name := range names {
		p.seeds[i] = mix(fnv1a(offset64, name))
	}
	return p
}

// score is the rendezvous hash of a shard and a member. Where nothing weightier
// decides, the member with the highest score gets the shard. Other members
// coming and going do not change it.
func (p *placement) score(shard, member int) uint64 {
	return mix(p.seeds[member] ^ mix(uint64(shard)+1))
}

// keep takes over what is left of before, cuts lists that are too long, and
// settles who should hold how much.
func (p *placement) keep(before [][]string) {
	index := make(map[string]int, len(p.names))
	for m, name := range p.names {
		index[name] = m
	}
	for shard, list := range before[:min(len(before), len(p.lists))] {
		for _, name := range list {
			if m, ok := index[name]; ok && !slices.Contains(p.lists[shard], m) {
				p.add(shard, m)
			}
		}
	}
	for shard := range p.lists {
		for len(p.lists[shard]) > p.size {
			p.remove(shard, slices.MaxFunc(p.lists[shard], func(a, b int) int {
				return cmp.Or(cmp.Compare(p.held[a], p.held[b]), cmp.Compare(p.score(shard, b), p.score(shard, a)))
			}))
		}
	}
	p.fair = p.shares(len(p.lists) * p.size)
}

// shares divides a total equally. What cannot be divided goes to those who hold
// most, one each, for they need to give up least.
func (p *placement) shares(total int) []int {
	n := len(p.names)
	fair, order := make([]int, n), make([]int, n)
	for m := range order {
		order[m] = m
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.held[b], p.held[a]), cmp.Compare(p.seeds[a], p.seeds[b]), cmp.Compare(a, b))
	})
	for rank, m := range order {
		fair[m] = total / n
		if rank < total%n {
			fair[m]++
		}
	}
	return fair
}

// fill completes the lists that are too short: with members that hold less than
// their share, the highest score first. Where those are all on the list
// already, it takes others; level takes the surplus from them.
func (p *placement) fill() {
	candidates := make([]int, 0, len(p.names))
	for shard := range p.lists {
		missing := p.size - len(p.lists[shard])
		if missing == 0 {
			continue
		}
		candidates = candidates[:0]
		for m := range p.names {
			if !slices.Contains(p.lists[shard], m) {
				candidates = append(candidates, m)
			}
		}
		slices.SortFunc(candidates, func(a, b int) int {
			if short := p.short(a); short != p.short(b) {
				if short {
					return -1
				}
				return 1
			}
			return cmp.Or(cmp.Compare(p.score(shard, b), p.score(shard, a)), cmp.Compare(a, b))
		})
		for _, m := range candidates[:missing] {
			p.add(shard, m)
		}
	}
}

// level moves replicas from members with too many to members with too few, each
// of which takes the shards for which it scores highest.
//
// It always gets there. As the lists are complete, somebody has too many as
// long as somebody has too few; the former holds more replicas than the latter,
// and hence one of a shard that the latter does not hold. One walk over the
// shards finds all of them: a shard that had nothing to give when the walk came
// by gets nothing to give later, because surpluses only shrink.
func (p *placement) level() {
	order := make([]int, len(p.lists))
	for m := range p.names {
		if !p.short(m) {
			continue
		}
		for shard := range order {
			order[shard] = shard
		}
		slices.SortFunc(order, func(a, b int) int {
			return cmp.Or(cmp.Compare(p.score(b, m), p.score(a, m)), cmp.Compare(a, b))
		})
		for _, shard := range order {
			if !p.short(m) {
				break
			}
			if from := p.giver(shard); from >= 0 && !slices.Contains(p.lists[shard], m) {
				p.remove(shard, from)
				p.add(shard, m)
			}
		}
	}
}

// giver returns the last member on a shard's list that holds more than its
// share, -1 if there is none. The last is the least preferred one: one that
// fill has just put there, which so has cost nothing, and the owner only if it
// must be.
func (p *placement) giver(shard int) int {
	for _, m := range slices.Backward(p.lists[shard]) {
		if p.held[m] > p.fair[m] {
			return m
		}
	}
	return -1
}

// short says whether a member holds less than its share.
func (p *placement) short(m int) bool { return p.held[m] < p.fair[m] }

func (p *placement) add(shard, m int) {
	p.lists[shard] = append(p.lists[shard], m)
	p.held[m]++
}

func (p *placement) remove(shard, m int) {
	i := slices.Index(p.lists[shard], m)
	p.lists[shard] = slices.Delete(p.lists[shard], i, i+1)
	p.held[m]--
}

// named returns the lists with names for indices.
func (p *placement) named() [][]string {
	named := make([][]string, len(p.lists))
	for shard, list := range p.lists {
		named[shard] = make([]string, len(list))
		for i, m := range list {
			named[shard][i] = p.names[m]
		}
	}
	return named
}
