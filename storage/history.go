package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
)

// History returns up to limit lines of an account's history, newest first:
// those numbered below the given number, or from the newest on if it is 0. An
// account that does not exist has no lines.
func (g *Group) History(ref credential.Ref, below uint64, limit int) (credential.History, error) {
	prefix := appendHistoryPrefix(nil, ref)
	hi := prefixEnd(prefix)
	if below != 0 {
		hi = historyKey(ref, below)
	}
	var h credential.History
	it, err := g.iter(prefix, hi)
	if err != nil {
		return h, err
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		if len(h.Lines) >= limit {
			h.Next = lowest(h, below)
			break
		}
		_, err := visit(it, func(key, value []byte, _ uint64) (bool, error) {
			line, err := decodeLine(value)
			if err != nil || len(key) != len(prefix)+8 {
				return false, errors.Join(err, checkHistoryKey(key, prefix))
			}
			number := binary.BigEndian.Uint64(key[len(prefix):])
			h.Lines = append(h.Lines, credential.NumberedLine{Number: number, Line: line})
			return true, nil
		})
		if err != nil {
			return credential.History{}, errors.Join(fmt.Errorf("history of %s: %w", ref, err), it.Close())
		}
	}
	return h, it.Close()
}

// lowest is where a page ends that has more lines below it.
func lowest(h credential.History, below uint64) uint64 {
	if len(h.Lines) == 0 {
		return below
	}
	return h.Lines[len(h.Lines)-1].Number
}

func checkHistoryKey(key, prefix []byte) error {
	if len(key) != len(prefix)+8 {
		return damaged("key of the history", fmt.Errorf("%d bytes after the account", len(key)-len(prefix)))
	}
	return nil
}
