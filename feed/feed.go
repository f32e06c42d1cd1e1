package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grantd/grantd/credential"
)

// Page is a part of a group's outbox.
type Page struct {
	// First and Last are the positions of the oldest event that is kept and of
	// the newest one; 1 and 0 where there never was one.
	First, Last credential.EventPos
	Events      []credential.StoredEvent // in order
}

// Source reads the outboxes of all groups, here or on other nodes. Methods may
// be called concurrently and end with their context.
type Source interface {
	// Read returns up to limit events of a group after a position. Where there is
	// none after it, Read waits for one, for no longer than wait: a page without
	// events says that none came. The positions are the same wherever it is read,
	// but a replica may lag behind.
	Read(ctx context.Context, group int, after credential.EventPos, limit int, wait time.Duration) (Page, error)
}

// Sealer seals positions: they tell how much happens to all accounts, which is
// not for everybody to know.
type Sealer interface {
	Seal(ctx context.Context, label credential.Label, s credential.Secret) (credential.Sealed, error)
	Open(ctx context.Context, label credential.Label, sealed credential.Sealed) (credential.Secret, error)
}

// Config is what a Feed is made of. Zero values of numbers mean the defaults.
type Config struct {
	Source Source
	Groups int // numbered from 0
	Sealer Sealer
	// Tenant is the one under which positions are sealed.
	Tenant string
	Logger *slog.Logger
	// MaxStreams and MaxPerReader bound the streams that are open at once, in all
	// and of one reader. Defaults 1024 and 64.
	MaxStreams, MaxPerReader int
}

// Errors of [Feed.Open] and of streams.
var (
	// ErrPosition: the position was not given out by this feed.
	ErrPosition = errors.New("not a position of this stream")
	// ErrTooMany: the reader has as many streams open as he may.
	ErrTooMany = errors.New("too many streams of this reader are open")
	// ErrClosed: the feed ends here; a stream goes on at another node, or later.
	ErrClosed = errors.New("the event stream ends here")
)

const (
	defaultMaxStreams   = 1024
	defaultMaxPerReader = 64
	// page is how many events of a group a stream reads at once.
	page = 64
)

// Counters count since the feed was made.
type Counters struct {
	Open   atomic.Int64 // streams that are open now
	Sent   atomic.Int64 // events handed to readers
	Gaps   atomic.Int64 // gaps told
	Lost   atomic.Int64 // events in them
	Failed atomic.Int64 // reads of an outbox that failed
}

// Feed is one node's event stream. Methods may be called concurrently.
type Feed struct {
	cfg      Config
	counters Counters
	last     []atomic.Uint64 // of each group, the newest position that was seen

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // tails, and readers inside

	mu      sync.Mutex // guards what follows
	closed  bool
	streams map[*Stream]struct{}
	readers map[string]int     // streams of each
	stop    context.CancelFunc // ends the tails; nil: there are none
}

// New returns a feed. While no stream is open, it does nothing.
func New(c Config) *Feed {
	if c.MaxStreams == 0 {
		c.MaxStreams = defaultMaxStreams
	}
	if c.MaxPerReader == 0 {
		c.MaxPerReader = defaultMaxPerReader
	}
	f := &Feed{cfg: c, last: make([]atomic.Uint64, c.Groups), streams: make(map[*Stream]struct{}), readers: make(map[string]int)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// Counters returns the live counters.
func (f *Feed) Counters() *Counters { return &f.counters }

// Close ends all streams with ErrClosed, and returns when nothing of the feed
// uses the source any more. It may be called more than once.
func (f *Feed) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.work.Wait()
}

// Options say what a stream is to hold.
type Options struct {
	// Reader is who reads, for the bound on his streams.
	Reader string
	// After is a position; empty: from now on; Start: from the oldest events.
	After string
	// Match says which events are wanted; nil: all.
	Match func(*credential.Event) bool
}

// Start stands for the position before the oldest events that are kept.
const Start = "start"

// Open begins a stream. Close it. Errors: ErrPosition, ErrTooMany, ErrClosed;
// credential.ErrOverloaded, the node has as many streams open as it may; those
// of the source, where the stream is to begin now or with the oldest events and
// it is not known for every group what that is.
func (f *Feed) Open(ctx context.Context, o Options) (*Stream, error) {
	ctx, leave, err := f.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	s := &Stream{feed: f, reader: o.Reader, match: o.Match, news: make(chan struct{}, 1), retry: make([]retry, f.cfg.Groups)}
	if err := f.admit(s); err != nil {
		return nil, err
	}
	if s.pos, err = f.begin(ctx, o.After); err != nil {
		s.Close()
		return nil, f.why(err)
	}
	return s, nil
}

// enter makes a call of a reader end with the feed, and the feed's end wait for
// it.
func (f *Feed) enter(ctx context.Context) (context.Context, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, ErrClosed
	}
	f.work.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(f.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		f.work.Done()
	}, nil
}

// why is the error of a call that ended with one.
func (f *Feed) why(err error) error {
	if f.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// admit counts a stream in, and starts the tails with the first one.
func (f *Feed) admit(s *Stream) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(f.streams) >= f.cfg.MaxStreams:
		return fmt.Errorf("%w: %d event streams are open on this node", credential.ErrOverloaded, len(f.streams))
	case f.readers[s.reader] >= f.cfg.MaxPerReader:
		return fmt.Errorf("%w: %d", ErrTooMany, f.cfg.MaxPerReader)
	}
	f.streams[s] = struct{}{}
	f.readers[s.reader]++
	f.counters.Open.Add(1)
	if f.stop == nil {
		ctx, stop := context.WithCancel(f.ctx)
		f.stop = stop
		for group := range f.cfg.Groups {
			f.work.Go(func() { f.tail(ctx, group) })
		}
	}
	return nil
}

// dismiss counts a stream out, and ends the tails with the last one.
func (f *Feed) dismiss(s *Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.streams[s]; !there {
		return
	}
	delete(f.streams, s)
	if f.readers[s.reader]--; f.readers[s.reader] == 0 {
		delete(f.readers, s.reader)
	}
	f.counters.Open.Add(-1)
	if len(f.streams) == 0 {
		f.stop()
		f.stop = nil
	}
}

const (
	// beginTime bounds how long the bounds of the outboxes may take to read.
	beginTime = 5 * time.Second
	// beginAtOnce bounds how many are read at once.
	beginAtOnce = 16
)

// begin returns the position that a stream begins at. What it sees of the
// outboxes on the way is noted, so that what is there is there at once.
func (f *Feed) begin(ctx context.Context, after string) (position, error) {
	var from position
	if after != "" && after != Start {
		var err error
		if from, err = f.open(ctx, after); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	pages := make([]Page, f.cfg.Groups)
	var all errgroup.Group
	all.SetLimit(beginAtOnce)
	for group := range pages {
		all.Go(func() (err error) {
			if pages[group], err = f.read(ctx, group, 0, 0, 0); err == nil {
				f.note(group, pages[group].Last)
			}
			return err
		})
	}
	err := all.Wait()
	switch {
	case from != nil:
		return from, nil // a group that cannot be read now is read later
	case err != nil:
		return nil, fmt.Errorf("%w: where the event stream begins cannot be told: %w", credential.ErrNoQuorum, err)
	}
	from = make(position, f.cfg.Groups)
	for group, p := range pages {
		if from[group] = p.Last; after == Start {
			from[group] = p.First - 1
		}
	}
	return from, nil
}

func (f *Feed) read(ctx context.Context, group int, after credential.EventPos, limit int, wait time.Duration) (Page, error) {
	p, err := f.cfg.Source.Read(ctx, group, after, limit, wait)
	if err != nil && ctx.Err() == nil {
		f.counters.Failed.Add(1)
	}
	return p, err
}
