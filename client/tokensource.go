package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/grantd/grantd/wire"
)

// Defaults of [SourceOptions].
const (
	DefaultMinTTL = 30 * time.Second
	DefaultMaxAge = 5 * time.Minute
	// retryPause is how long a token in hand is used without asking again after
	// grantd could not be asked, or had none that serves longer.
	retryPause = time.Second
	// lookupTimeout bounds a lookup of [TokenSource.Token], which has no context.
	lookupTimeout = 30 * time.Second
)

// SourceOptions are the knobs of a [TokenSource]. The zero value is usable.
type SourceOptions struct {
	// MinTTL is how long a token must still serve to be handed out without
	// asking; 0: [DefaultMinTTL].
	MinTTL time.Duration
	// MaxAge is how long a token is used without asking, however long it
	// serves; 0: [DefaultMaxAge]. It bounds how late a disconnect is noticed.
	MaxAge time.Duration
}

// TokenSource hands out the token of one account and remembers it. It is an
// oauth2.TokenSource, safe for concurrent use: concurrent lookups become one
// request, and while grantd cannot be asked the last good token is handed out
// until it expires. Moments of asking are spread by jitter, so that many
// processes do not ask at once.
type TokenSource struct {
	c       tokens
	account string
	minTTL  time.Duration
	maxAge  time.Duration

	lookups merger[wire.Token]
	reports merger[struct{}]

	// last is the token in hand; nil: none. An atomic pointer also because fmt
	// never looks behind one.
	last atomic.Pointer[held]

	mu sync.Mutex // held to change last and reported together
	// reported is 1 + the newest generation that grantd was told the provider
	// refused; 0: none.
	reported uint64
}

var _ oauth2.TokenSource = (*TokenSource)(nil)

// tokens is who is asked: a [Client] or an [RPC].
type tokens interface {
	Token(ctx context.Context, account string, minTTL time.Duration) (wire.Token, error)
	Refresh(ctx context.Context, account string, stale *uint64) (wire.Account, error)
}

// held is a token in hand; immutable.
type held struct {
	token wire.Token
	ask   time.Time // when to ask again
}

// good reports whether the token serves at all at this moment.
func (h *held) good(now time.Time) bool {
	return h.token.ExpiresAt.IsZero() || now.Before(h.token.ExpiresAt.Time)
}

// TokenSource returns a source of the tokens of the account "tenant/id". Share
// one among all that use the account.
func (c *Client) TokenSource(account string, o SourceOptions) *TokenSource {
	return newTokenSource(c, account, o)
}

// TokenSource is [Client.TokenSource].
func (r *RPC) TokenSource(account string, o SourceOptions) *TokenSource {
	return newTokenSource(r, account, o)
}

func newTokenSource(c tokens, account string, o SourceOptions) *TokenSource {
	if o.MinTTL <= 0 {
		o.MinTTL = DefaultMinTTL
	}
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	return &TokenSource{c: c, account: account, minTTL: o.MinTTL, maxAge: o.MaxAge}
}

// Token is [TokenSource.Get] for golang.org/x/oauth2. It fails for accounts
// that hold no OAuth token.
func (s *TokenSource) Token() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	t, err := s.Get(ctx)
	if err != nil {
		return nil, err
	}
	if t.Type != wire.TypeOAuth2 {
		return nil, fmt.Errorf("grantd: account %s holds credentials of the type %s, not an OAuth token; use Get", s.account, t.Type)
	}
	return &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: t.TokenType, Expiry: t.ExpiresAt.Time}, nil
}

// Get returns a token that serves. Errors that are final (needs_reauth,
// disconnected, not_found, a key that is refused) are returned at once and make
// it forget the token in hand; others only when no token in hand serves.
func (s *TokenSource) Get(ctx context.Context) (wire.Token, error) {
	if h := s.last.Load(); h != nil && time.Now().Before(h.ask) {
		return h.token, nil
	}
	t, err := s.lookups.do(ctx, s.lookup)
	if err == nil {
		return t, nil
	}
	if final(err) {
		return wire.Token{}, err
	}
	if h := s.last.Load(); h != nil && h.good(time.Now()) {
		return h.token, nil
	}
	return wire.Token{}, err
}

// lookup asks grantd and remembers what it said.
func (s *TokenSource) lookup(ctx context.Context) (wire.Token, error) {
	if h := s.last.Load(); h != nil && time.Now().Before(h.ask) {
		return h.token, nil // somebody else was quicker
	}
	t, err := s.c.Token(ctx, s.account, s.minTTL)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && t.Generation < s.reported:
		// The lookup was on its way already when this generation was refused.
	case err == nil:
		s.last.Store(&held{token: t, ask: s.askAt(t, now)})
	case final(err):
		s.last.Store(nil)
	default:
		if h := s.last.Load(); h != nil {
			s.last.Store(&held{token: h.token, ask: now.Add(pause(err))})
		}
	}
	return t, err
}

// askAt is when to ask again for a token that was just got.
func (s *TokenSource) askAt(t wire.Token, now time.Time) time.Time {
	at := now.Add(jitter(s.maxAge))
	if t.ExpiresAt.IsZero() {
		return at
	}
	if end := now.Add(jitter(t.ExpiresAt.Sub(now) - s.minTTL)); end.Before(at) {
		at = end
	}
	if soonest := now.Add(retryPause); at.Before(soonest) {
		at = soonest
	}
	if t.ExpiresAt.Before(at) {
		return t.ExpiresAt.Time
	}
	return at
}

// pause is how long not to ask again after err.
func pause(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return min(e.RetryAfter, time.Minute)
	}
	return retryPause
}

// jitter shortens d by up to a tenth.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}

// Refused tells grantd that the provider's API refused the token of this
// generation, with a 401 that is, and forgets it. A generation that is not the
// newest any more, or that was reported before, costs no request. Afterwards
// [TokenSource.Get] returns the token that replaced it.
func (s *TokenSource) Refused(ctx context.Context, generation uint64) error {
	for !s.known(generation) {
		_, err := s.reports.do(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, s.report(ctx, generation)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// known reports whether nothing is to be told about the generation.
func (s *TokenSource) known(generation uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.last.Load()
	return s.reported > generation || h != nil && h.token.Generation > generation
}

func (s *TokenSource) report(ctx context.Context, generation uint64) error {
	if s.known(generation) {
		return nil
	}
	_, err := s.c.Refresh(ctx, s.account, &generation)
	if err != nil && !final(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported = generation + 1
	if h := s.last.Load(); h != nil && h.token.Generation <= generation {
		s.last.Store(nil)
	}
	return err
}
