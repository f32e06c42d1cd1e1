package connect

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/grantd/grantd/credential"
)

const (
	// sweepEvery is how often links are looked through.
	sweepEvery = time.Minute
	// sweepBatch bounds the links that go in one write.
	sweepBatch = 500
)

// errFull ends a scan: the batch is full.
var errFull = errors.New("batch is full")

// Sweep removes links that nobody needs any more, a batch a write, while leads
// says that this node is the one to do it. It returns when ctx ends.
func (c *Connect) Sweep(ctx context.Context, leads func() bool) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for leads() && ctx.Err() == nil {
			n, err := c.sweep(ctx, time.Now())
			if err != nil && ctx.Err() == nil {
				c.log.Warn("expired links could not be removed; they are tried again", "err", err)
			}
			if err != nil || n < sweepBatch {
				break
			}
		}
	}
}

// sweep removes one batch of links whose time to be kept is over, and returns how
// many. A record that cannot be read goes, too: nobody can use it.
func (c *Connect) sweep(ctx context.Context, now time.Time) (int, error) {
	over := make(map[string]uint64)
	err := c.kv.Scan(prefix, func(key string, value []byte, rev uint64) error {
		var r struct {
			KeepUntil time.Time `json:"keep_until"`
		}
		if err := json.Unmarshal(value, &r); err == nil && now.Before(r.KeepUntil) {
			return nil
		}
		over[key] = rev
		if len(over) == sweepBatch {
			return errFull
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return 0, err
	}
	if len(over) == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.kv.DeleteAll(ctx, over); err != nil {
		if errors.Is(err, credential.ErrConflict) {
			return 0, nil // one of them was written meanwhile; the next round sees it
		}
		return 0, err
	}
	return len(over), nil
}
