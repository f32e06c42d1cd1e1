package ring

import (
	"cmp"
	"slices"
)

// elect puts the preferred owner of each shard first in its list, the others
// behind it by their scores.
func (p *placement) elect(before [][]string) {
	if p.size == 0 {
		return
	}
	o := owners{p: p, of: make([]int, len(p.lists)), owned: make([][]int, len(p.names))}
	low, high := len(p.lists)/len(p.names), (len(p.lists)+len(p.names)-1)/len(p.names)
	o.keep(before)
	o.choose(before, low)
	for m := range p.names {
		for len(o.owned[m]) > high && o.pass(m, func(to int) bool { return len(o.owned[to]) < high }) {
		}
	}
	for m := range p.names {
		for len(o.owned[m]) > low && o.pass(m, func(to int) bool { return len(o.owned[to]) < low }) {
		}
	}
	for shard, list := range p.lists {
		slices.SortFunc(list, func(a, b int) int {
			switch o.of[shard] {
			case a:
				return -1
			case b:
				return 1
			}
			return cmp.Or(cmp.Compare(p.score(shard, b), p.score(shard, a)), cmp.Compare(a, b))
		})
	}
}

// owners says which member owns which shard.
type owners struct {
	p     *placement
	of    []int   // of each shard; -1: nobody yet
	owned [][]int // the shards of each member
}

func (o *owners) give(shard, m int) {
	o.of[shard] = m
	o.owned[m] = append(o.owned[m], shard)
}

// keep lets shards whose owner still holds a replica stay with it.
func (o *owners) keep(before [][]string) {
	for shard, list := range o.p.lists {
		o.of[shard] = -1
		if shard >= len(before) || len(before[shard]) == 0 {
			continue
		}
		if m, ok := slices.BinarySearch(o.p.names, before[shard][0]); ok && slices.Contains(list, m) {
			o.give(shard, m)
		}
	}
}

// choose gives each shard without an owner to the one of its members that owns
// least. Members that were on its list before go first as long as they own less
// than low, for they have the shard's data already.
func (o *owners) choose(before [][]string, low int) {
	for shard, list := range o.p.lists {
		if o.of[shard] >= 0 {
			continue
		}
		best, bestReady := list[0], false
		for _, m := range list {
			ready := shard < len(before) && len(o.owned[m]) < low && slices.Contains(before[shard], o.p.names[m])
			if ready && !bestReady || ready == bestReady && len(o.owned[m]) < len(o.owned[best]) {
				best, bestReady = m, ready
			}
		}
		o.give(shard, best)
	}
}

// pass makes member from own one shard less, and one that wants it one more.
// from may hand a shard only to a member that holds a replica of it, who then
// may have to hand on another one, and so on; the shortest such chain is taken.
// It reports whether there was one.
func (o *owners) pass(from int, wants func(m int) bool) bool {
	const unseen = -1
	way := make([]int, len(o.p.names)) // by which shard a member was reached
	for m := range way {
		way[m] = unseen
	}
	queue := []int{from}
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		for _, shard := range o.owned[m] {
			for _, next := range o.p.lists[shard] {
				if next == from || way[next] != unseen {
					continue
				}
				way[next] = shard
				if wants(next) {
					o.hand(from, next, way)
					return true
				}
				queue = append(queue, next)
			}
		}
	}
	return false
}

// hand carries out the chain that ends at to, from its end to its beginning.
func (o *owners) hand(from, to int, way []int) {
	for to != from {
		shard := way[to]
		prev := o.of[shard]
		i := slices.Index(o.owned[prev], shard)
		o.owned[prev] = slices.Delete(o.owned[prev], i, i+1)
		o.give(shard, to)
		to = prev
	}
}
