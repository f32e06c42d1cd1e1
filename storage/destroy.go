package storage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Destroy deletes the group's log and state, and nothing that it has promised:
// its stable values stay, and how far log and state went is added to them (see
// Behind). It is one synced write: a crash leaves all or nothing. Nobody else
// may use the group meanwhile, nor a Log that it handed out before ever again;
// the Group itself is then a new group's.
func (g *Group) Destroy() error {
	far, err := g.reached()
	if err != nil {
		return fmt.Errorf("destroy group %d: %w", g.id, err)
	}
	before, err := g.reachedBefore()
	if err != nil {
		return fmt.Errorf("destroy group %d: %w", g.id, err)
	}
	if before.compare(far) > 0 { // destroyed twice, the second time too early
		far = before
	}
	b := g.db.pdb.NewBatch()
	err = errors.Join(
		b.DeleteRange(logKey(g.id, 0), logEnd(g.id), nil),
		b.DeleteRange(appliedKey(g.id), stateEnd(g.id), nil),
		b.Set(stableKey(g.id, []byte(reachedName)), far.encode(), nil),
	)
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("destroy group %d: %w", g.id, err)
	}
	g.log.Store(nil)
	g.applied.Store(nil)
	return nil
}

// Behind reports whether the group was destroyed on this node and its log and
// state have not come again to where they were then: the node lacks entries that
// it may have vouched for.
func (g *Group) Behind() (bool, error) {
	before, err := g.reachedBefore()
	if err != nil || before == (position{}) {
		return false, err
	}
	now, err := g.reached()
	if err != nil {
		return false, err
	}
	return now.compare(before) < 0, nil
}

// position is a place in the logs of a group. Of two logs the one that ends at
// the higher position knows more, in raft's sense.
type position struct{ term, index uint64 }

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.term, q.term), cmp.Compare(p.index, q.index))
}

// reachedName is the stable value that holds the highest position at which the
// group was destroyed.
const reachedName = "grantd-reached"

func (p position) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, p.term), p.index)
}

// reached returns where log and state end.
func (g *Group) reached() (position, error) {
	a, err := g.Applied()
	if err != nil {
		return position{}, err
	}
	far := position{a.Term, a.Index}
	log, err := g.Log()
	if err != nil {
		return position{}, err
	}
	last := log.LastIndex()
	if last == 0 {
		return far, nil
	}
	e, err := log.Get(last)
	if err != nil {
		return position{}, fmt.Errorf("log entry %d: %w", last, err)
	}
	if end := (position{e.Term, e.Index}); end.compare(far) > 0 {
		far = end
	}
	return far, nil
}

// reachedBefore returns where log and state ended when the group was destroyed;
// zero: it never was.
func (g *Group) reachedBefore() (position, error) {
	v, err := g.Stable().Get([]byte(reachedName))
	if err != nil || v == nil {
		return position{}, err
	}
	if len(v) != 16 {
		return position{}, damaged(fmt.Sprintf("position of group %d", g.id), fmt.Errorf("%d bytes", len(v)))
	}
	return position{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}, nil
}

// Exists reports whether the node holds a log or a state of the group.
func (g *Group) Exists() (bool, error) { return g.has(tagLog, tagState) }

// Known reports whether the node holds anything of the group, be it only stable
// values: then it has run the group before.
func (g *Group) Known() (bool, error) { return g.has(tagLog, tagState, tagStable) }

// has reports whether there are keys of the group with one of the tags.
func (g *Group) has(tags ...byte) (bool, error) {
	for _, tag := range tags {
		id, ok, err := g.db.nextGroup(tag, g.id)
		if err != nil || ok && id == g.id {
			return ok, err
		}
	}
	return false, nil
}

// Groups returns the groups of which the node holds a log or a state, in order.
func (db *DB) Groups() ([]uint16, error) {
	var all []uint16
	for _, tag := range []byte{tagLog, tagState} {
		for from := 0; from <= maxGroup; {
			id, ok, err := db.nextGroup(tag, uint16(from))
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			all = append(all, id)
			from = int(id) + 1
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

const maxGroup = 1<<16 - 1

// nextGroup returns the first group from from on that has keys with the tag.
func (db *DB) nextGroup(tag byte, from uint16) (id uint16, ok bool, err error) {
	it, err := db.pdb.NewIter(&pebble.IterOptions{LowerBound: appendGroup(nil, tag, from), UpperBound: []byte{tag + 1}})
	if err != nil {
		return 0, false, fmt.Errorf("look for groups: %w", err)
	}
	if it.First() {
		id, ok = binary.BigEndian.Uint16(it.Key()[1:]), true
	}
	if err := it.Close(); err != nil {
		return 0, false, fmt.Errorf("look for groups: %w", err)
	}
	return id, ok, nil
}
