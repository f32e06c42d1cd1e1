package herd

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// each calls fn for 0 to n-1, some at once, until one fails; it waits for all
// that were started. done is called, from many goroutines, for each that is done.
func each(ctx context.Context, n int, done func(), fn func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(workers, n) {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := fn(ctx, i); err != nil {
					return err
				}
				done()
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}
