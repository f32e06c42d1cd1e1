package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Begin notes a value and begins to sync it. It returns at once, so that what
// depends on the value can be proposed in the same breath and be synced with
// it; wait returns when the value is safe, and must be called.
func (j *Journal) Begin(key string, value []byte) (wait func() error, err error) {
	b := j.db.NewBatch()
	if err := errors.Join(b.Set(journalKey(key), value, nil), j.db.ApplyNoSyncWait(b, pebble.Sync)); err != nil {
		return nil, fmt.Errorf("journal: %w", errors.Join(err, b.Close()))
	}
	return func() error {
		if err := errors.Join(b.SyncWait(), b.Close()); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		return nil
	}, nil
}
