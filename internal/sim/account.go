package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node"
)

// Account is a customer's account, and the person who looks after it: imports
// and disconnections come one after the other. The other methods may be called
// by anybody at any time.
type Account struct {
	Ref         credential.Ref
	Kind        credential.Kind
	Integration string
	Client      string
	// Bare: its imports bring no refresh token.
	Bare bool

	w    *World
	mu   sync.Mutex
	book Book
}

// NewAccount adds an account that is yet to be imported.
func (w *World) NewAccount(id string, kind credential.Kind, in Integration) *Account {
	a := &Account{Ref: credential.Ref{Tenant: "acme", ID: id}, Kind: kind, Integration: in.ID, Client: in.Client, w: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accounts = append(w.accounts, a)
	return a
}

// begin notes that an operation starts.
func (a *Account) begin(op Op) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	op.Began, op.From = a.w.clock.Add(1), time.Now()
	a.book.Ops = append(a.book.Ops, op)
	return len(a.book.Ops) - 1
}

// done notes how it ended.
func (a *Account) done(ctx context.Context, i int, rec credential.Account, counts bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	op, told := &a.book.Ops[i], counts && err == nil
	op.Ended, op.At, op.Acked, op.Generation = a.w.clock.Add(1), time.Now(), told, rec.Generation
	op.Void = counts && ctx.Err() == nil && (errors.Is(err, credential.ErrNoQuorum) || errors.Is(err, credential.ErrNotOwner)) && !errors.Is(err, credential.ErrUnknownOutcome)
	if counts && errors.Is(err, credential.ErrNotFound) {
		a.book.Told = append(a.book.Told, Told{Began: op.Began, Ended: op.Ended, From: op.From, At: op.At, Absent: true, Op: true})
	}
	if told {
		a.book.Told = append(a.book.Told, Told{Began: op.Began, Ended: op.Ended, From: op.From, At: op.At, Generation: rec.Generation, Op: true})
	}
}

// Import brings fresh credentials to the account, once. Each try has a grant of
// its own: importing a refresh token that grantd may have used would be the
// importer's replay.
func (a *Account) Import(ctx context.Context) error {
	what := credential.Import{Ref: a.Ref, Integration: a.Integration, Kind: a.Kind}
	op := Op{Kind: OpImport}
	switch a.Kind {
	case credential.KindOAuth2:
		tok, err := a.w.Provider.NewGrant(a.Client, a.Ref.ID, nil)
		if err != nil {
			return err
		}
		what.Secret, what.RefreshToken, what.ExpiresAt = tok.AccessToken, tok.RefreshToken, time.Now().Add(tok.ExpiresIn)
		op.Grant, op.Bare = tok.Grant, a.Bare
		if a.Bare {
			what.RefreshToken = credential.Secret{}
		}
	case credential.KindClientCredentials:
		what.Scopes = []string{a.Ref.ID}
	default:
		what.Secret = secret(fmt.Sprintf("key-%s-%d", a.Ref.ID, a.w.clock.Add(1)))
	}
	op.Secret = strict.TokenHash(what.Secret.Reveal())
	i := a.begin(op)
	var rec credential.Account
	counts, err := a.w.do(ctx, func(ctx context.Context, c *node.Core) (err error) {
		rec, _, err = c.Accounts().Import(ctx, what)
		return err
	})
	a.done(ctx, i, rec, counts, err)
	if err == nil && !counts {
		err = errUntold
	}
	a.expect("import", counts, err)
	return err
}

// Disconnect ends the account, once.
func (a *Account) Disconnect(ctx context.Context) error {
	i := a.begin(Op{Kind: OpDisconnect})
	var rec credential.Account
	counts, err := a.w.do(ctx, func(ctx context.Context, c *node.Core) (err error) {
		rec, err = c.Accounts().Disconnect(ctx, a.Ref)
		return err
	})
	a.done(ctx, i, rec, counts, err)
	if err == nil && !counts {
		err = errUntold
	}
	a.expect("disconnect", counts, err)
	return err
}

// Token asks for the account's token.
func (a *Account) Token(ctx context.Context, minTTL time.Duration) (credential.Token, error) {
	t := Told{Began: a.w.clock.Add(1), From: time.Now()}
	var tok credential.Token
	counts, err := a.w.do(ctx, func(ctx context.Context, c *node.Core) (err error) {
		tok, err = c.Accounts().Token(ctx, a.Ref, minTTL)
		return err
	})
	if !counts {
		return tok, errors.Join(errUntold, err)
	}
	if err == nil {
		t.Generation, t.Token, t.Replica = tok.Generation, strict.TokenHash(tok.Secret.Reveal()), tok.Replica
		asked := time.Now()
		if a.w.Network != nil { // the answer may have been on its way for a while
			asked = t.From
		}
		if !tok.ExpiresAt.IsZero() && !tok.ExpiresAt.After(asked) {
			a.w.problem("%s: a caller was handed a token that expired at %v", a.Ref, tok.ExpiresAt)
		}
	}
	a.tell(t, err)
	a.expect("token", counts, err)
	return tok, err
}

// Refresh asks for a generation newer than stale; nil: than the present one.
func (a *Account) Refresh(ctx context.Context, stale *uint64) error {
	t := Told{Began: a.w.clock.Add(1), From: time.Now()}
	floor := a.newest()
	if stale != nil {
		floor = *stale
	}
	counts, err := a.w.do(ctx, func(ctx context.Context, c *node.Core) error {
		rec, err := c.Accounts().Refresh(ctx, a.Ref, stale)
		t.Generation = rec.Generation
		return err
	})
	if !counts {
		return errors.Join(errUntold, err)
	}
	if err == nil && t.Generation <= floor {
		a.w.problem("%s: a refresh was to bring more than generation %d and brought %d", a.Ref, floor, t.Generation)
	}
	a.tell(t, err)
	a.expect("refresh", counts, err)
	return err
}

// Read reads the record and the newest lines of history.
func (a *Account) Read(ctx context.Context) error {
	t := Told{Began: a.w.clock.Add(1), From: time.Now()}
	var h credential.History
	counts, err := a.w.do(ctx, func(ctx context.Context, c *node.Core) error {
		rec, err := c.Accounts().Account(ctx, a.Ref)
		if err != nil {
			return err
		}
		t.Generation, t.Dead, t.Gone = rec.Generation, rec.State == credential.StateNeedsReauth, rec.State == credential.StateDisconnected
		h, err = c.Accounts().History(ctx, a.Ref, 0, 5)
		return err
	})
	if !counts {
		return errors.Join(errUntold, err)
	}
	t.Lines = h.Lines
	// Where the owner is not heard of, this node's replica answers without a mark.
	t.Replica = a.w.Network != nil && time.Since(t.From) >= replicaAfter
	a.tell(t, err)
	a.expect("read", counts, err)
	return err
}

// tell notes what a caller was told.
func (a *Account) tell(t Told, err error) {
	t.Ended, t.At = a.w.clock.Add(1), time.Now()
	t.Dead = t.Dead || errors.Is(err, credential.ErrNeedsReauth)
	t.Absent = errors.Is(err, credential.ErrNotFound)
	t.Gone = t.Gone || errors.Is(err, credential.ErrDisconnected)
	if err != nil && !t.Dead && !t.Absent && !t.Gone {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.book.Told = append(a.book.Told, t)
}

// replicaAfter is after what time an owner that is not heard of is stood in for.
const replicaAfter = time.Second

// newest is the newest generation that anybody was told of.
func (a *Account) newest() (g uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.book.Told {
		g = max(g, t.Generation)
	}
	return g
}

// foreseen are the errors that a caller may get when things go wrong around a
// node that does right.
var foreseen = []error{
	errUntold, errFailed, context.Canceled, context.DeadlineExceeded, credential.ErrNotFound, credential.ErrNeedsReauth, credential.ErrDisconnected,
	credential.ErrProviderUnavailable, credential.ErrMisconfigured, credential.ErrNoQuorum, credential.ErrNotOwner, credential.ErrUnknownOutcome,
}

// expect complains of other errors.
func (a *Account) expect(what string, counts bool, err error) {
	if a.Bare && errors.Is(err, credential.ErrInvalid) { // there is nothing to refresh with
		return
	}
	if a.w.Network != nil && errors.Is(err, credential.ErrMisconfigured) { // a cluster's integrations are all well
		a.w.problem("%s: %s failed with %v", a.Ref, what, err)
	}
	if err == nil || !counts || slices.ContainsFunc(foreseen, func(f error) bool { return errors.Is(err, f) }) {
		return
	}
	a.w.problem("%s: %s failed with %v", a.Ref, what, err)
}

// grant is the account's newest grant; empty: it has none.
func (a *Account) grant() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := len(a.book.Ops) - 1; i >= 0; i-- {
		if g := a.book.Ops[i].Grant; g != "" {
			return g
		}
	}
	return ""
}
