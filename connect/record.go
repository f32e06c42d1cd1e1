package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
)

// prefix is that of the keys of links in the store: one record a link, with its
// flows in it, so that a callback is judged and its state used up in one write.
const prefix = "link/"

// maxFlows is how many flows of a link are kept: who starts another one gives up
// the oldest.
const maxFlows = 8

// record is a link as it is stored.
type record struct {
	Tenant             string            `json:"tenant"`
	Account            string            `json:"account"`
	Integration        string            `json:"integration"`
	Scopes             []string          `json:"scopes,omitempty"`
	Variables          map[string]string `json:"variables,omitempty"`
	ReturnURL          string            `json:"return_url,omitempty"`
	AllowOtherIdentity bool              `json:"allow_other_identity,omitempty"`
	CreatedAt          time.Time         `json:"created_at"`
	ExpiresAt          time.Time         `json:"expires_at"`
	// KeepUntil is when nobody needs the record any more: some time after the
	// link and its last flow have ended, so that a person is told what happened.
	KeepUntil time.Time `json:"keep_until"`
	// UsedAt is when the account was stored; zero: the link is still good.
	UsedAt time.Time `json:"used_at,omitzero"`
	// ToldExpired: the event that somebody came too late was given.
	ToldExpired bool   `json:"told_expired,omitempty"`
	Flows       []flow `json:"flows,omitempty"`
}

func (r *record) ref() credential.Ref { return credential.Ref{Tenant: r.Tenant, ID: r.Account} }

// step is how far a flow is.
type step string

const (
	stepStarted step = ""       // the person is at the provider
	stepTaken   step = "taken"  // the answer came, and its state is used up
	stepDone    step = "done"   // the account is stored
	stepDenied  step = "denied" // the person, or the provider for them, said no
	stepFailed  step = "failed" // something else ended it
)

// flow is one authorization that was started from the link.
type flow struct {
	State       []byte            `json:"state"`   // hash
	Browser     []byte            `json:"browser"` // hash of the cookie
	Verifier    credential.Sealed `json:"verifier"`
	Number      uint64            `json:"number"` // in the verifier's label
	RedirectURI string            `json:"redirect_uri"`
	Issuer      string            `json:"issuer,omitempty"`
	Variables   map[string]string `json:"variables,omitempty"`
	StartedAt   time.Time         `json:"started_at"`
	ExpiresAt   time.Time         `json:"expires_at"`
	Step        step              `json:"step,omitempty"`
	// Judge is who ended the flow: by it a write whose outcome was not known is
	// recognised as one's own.
	Judge   string    `json:"judge,omitempty"`
	TakenAt time.Time `json:"taken_at,omitzero"`
	Missing []string  `json:"missing,omitempty"` // scopes, of stepDone
	// ToldBrowser: the event that another browser came back was given.
	ToldBrowser bool `json:"told_browser,omitempty"`
}

// label of the sealed PKCE verifier.
func (f *flow) label(tenant, record string) credential.Label {
	return credential.Label{Tenant: tenant, Account: record, Field: credential.FieldVerifier, Generation: f.Number}
}

// find returns the flow of a state.
func (r *record) find(secret string) *flow {
	var found *flow
	for i := range r.Flows {
		if matches(r.Flows[i].State, "state", secret) {
			found = &r.Flows[i]
		}
	}
	return found
}

// load reads a record; ErrNoLink where there is none.
func (c *Connect) load(name string) (*record, uint64, error) {
	value, rev, err := c.kv.Get(prefix + name)
	if errors.Is(err, credential.ErrNotFound) {
		return nil, 0, ErrNoLink
	}
	if err != nil {
		return nil, 0, err
	}
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, 0, fmt.Errorf("record of a link: %w", err)
	}
	return &r, rev, nil
}

// store writes a record with what is to be told of it.
func (c *Connect) store(ctx context.Context, name string, rev uint64, r *record, events ...credential.Event) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(events) > 0 {
		_, err = c.kv.PutAndTell(ctx, prefix+name, rev, value, events)
	} else {
		_, err = c.kv.Put(ctx, prefix+name, rev, value)
	}
	return err
}

// change reads a record, has fn change it, and writes it with the events that fn
// returns; again where somebody else was faster, or where it is not known whether
// it was written: fn has to recognise its own change. It returns false to leave
// the record as it is. The record as it then stands is returned.
func (c *Connect) change(ctx context.Context, name string, fn func(*record) (write bool, events []credential.Event, err error)) (r *record, err error) {
	err = again(ctx, func() error {
		var rev uint64
		if r, rev, err = c.load(name); err != nil {
			return err
		}
		write, events, err := fn(r)
		if err != nil || !write {
			return err
		}
		return c.store(ctx, name, rev, r, events...)
	})
	return r, err
}

const (
	// maxTries bounds how often a write is tried that may succeed a moment later;
	// firstWait is the wait after the first, doubled for each that follows: about
	// ten seconds in all, in which a group finds a new leader.
	maxTries  = 11
	firstWait = 10 * time.Millisecond
)

// again calls fn until it returns anything but an error that passes. It gives up
// with ctx or after maxTries, with the last error.
func again(ctx context.Context, fn func() error) error {
	wait := firstWait
	for try := 1; ; try++ {
		err := fn()
		if err == nil || !passes(err) || try == maxTries {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
		wait *= 2
	}
}

// passes reports whether a write may succeed a moment later: somebody else was
// faster, or a group has no leader that can commit, or too much to do.
func passes(err error) bool {
	return slices.ContainsFunc([]error{
		credential.ErrConflict, credential.ErrNoQuorum, credential.ErrNotOwner, credential.ErrUnknownOutcome, credential.ErrOverloaded,
	}, func(target error) bool { return errors.Is(err, target) })
}

// event tells of the link's account.
func (r *record) event(t credential.EventType, reason string) credential.Event {
	return credential.Event{ID: newSecret(), Type: t, Ref: r.ref(), At: time.Now().UTC(), Reason: reason, Integration: r.Integration}
}
