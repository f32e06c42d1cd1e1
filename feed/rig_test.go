package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed"
	"github.com/grantd/grantd/feed/feedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a feed over a world.
func node(t testing.TB, w *feedtest.World, cfg feed.Config) *feed.Feed {
	cfg.Source, cfg.Groups, cfg.Logger = w, w.Groups(), slog.New(slog.DiscardHandler)
	if cfg.Sealer == nil {
		cfg.Sealer = feedtest.Sealer{Word: "word"}
	}
	f := feed.New(cfg)
	t.Cleanup(f.Close)
	return f
}

func open(t testing.TB, f *feed.Feed, o feed.Options) *feed.Stream {
	t.Helper()
	s, err := f.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// event is the nth event of an account.
func event(account string, n int) credential.Event {
	return credential.Event{ID: fmt.Sprintf("%s-%d", account, n), Type: credential.EventCreated, Ref: credential.Ref{Tenant: "acme", ID: account}, Generation: uint64(n)}
}

// next returns the id of the next event, or what else there is.
func next(t testing.TB, s *feed.Stream) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	item, err := s.Next(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "nothing"
	case err != nil:
		return err.Error()
	case item.Lost > 0:
		return fmt.Sprintf("%d lost", item.Lost)
	}
	return item.Event.ID
}

func position(t testing.TB, s *feed.Stream) string {
	t.Helper()
	p, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
