package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// call is a method of Peers as a test asks it.
type call struct {
	name string
	do   func(ctx context.Context, p *rpc.Peers) (any, error)
	got  []any // what the other node is asked
	want any
}

func calls() []call {
	seven := uint64(7)
	in := credential.Import{
		Ref: crm, Integration: "github", Kind: credential.KindOAuth2, Secret: credential.NewSecret(canary), RefreshToken: credential.NewSecret(canary + "2"),
		Username: "u", Scopes: []string{"a"}, ExpiresAt: noon,
		RefreshExpiresAt: noon.Add(time.Hour), TokenType: "Bearer", RequestedScopes: []string{"a", "b"}, Variables: map[string]string{"shop": "acme"},
		Facts: map[string]string{"realm_id": "7"}, Subject: []byte("hash"), AllowOtherIdentity: true, Reauthorise: true,
	}
	q := credential.Query{Tenant: "acme", State: credential.StateActive, Integration: "slack", After: crm, Limit: 10}
	slack := sample()
	slack.Ref, slack.Integration = credential.Ref{Tenant: "acme", ID: "sl"}, "slack"
	tok := credential.Token{Kind: credential.KindOAuth2, Secret: credential.NewSecret(canary), Username: "u", TokenType: "Bearer", ExpiresAt: noon, Scopes: []string{"a"}, Generation: 7}
	copied := tok
	copied.Replica = true
	fate := credential.FateQuery{Ref: crm, Attempt: "at", Boot: "boot", Generation: 6}
	told := []credential.Event{
		{ID: "e1", Type: credential.EventMisconfigured, At: noon, Reason: "invalid_client", Integration: "github"},
		{ID: "e2", Type: credential.EventAuthError, Ref: crm, At: noon, Reason: "r", Generation: 7, Integration: "github"},
	}
	return []call{
		{"token", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Token(ctx, "n2", crm, time.Minute) }, []any{crm, time.Minute}, tok},
		{"replica token", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.ReplicaToken(ctx, "n2", crm, 0) }, []any{crm, time.Duration(0)}, copied},
		{"refresh", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Refresh(ctx, "n2", crm, &seven) }, []any{crm, &seven}, sample()},
		{"refresh, anyhow", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Refresh(ctx, "n2", crm, nil) }, []any{crm, (*uint64)(nil)}, sample()},
		{"import", func(ctx context.Context, p *rpc.Peers) (any, error) {
			a, created, err := p.Import(ctx, "n2", in)
			if err == nil && !created {
				err = errors.New("not created")
			}
			return a, err
		}, []any{in}, sample()},
		{"disconnect", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Disconnect(ctx, "n2", crm) }, []any{crm}, sample()},
		{"account", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Account(ctx, "n2", crm) }, []any{crm}, sample()},
		{"history", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.History(ctx, "n2", crm, 8, 20) }, []any{crm, uint64(8), 20},
			credential.History{Next: 4, Lines: []credential.NumberedLine{{Number: 5, Line: credential.Line{At: noon, What: credential.WhatRefreshed, Reason: "r", Detail: "d", Generation: 7, Attempt: "at", Node: "n1"}}}}},
		{"a shard's accounts", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.ShardAccounts(ctx, "n2", 3, q) }, []any{3, q},
			credential.Page{Accounts: []credential.Account{slack}, Next: credential.Ref{Tenant: "z", ID: "z"}}},
		{"fate", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Fate(ctx, "n2", fate) }, []any{fate},
			credential.Fate{State: credential.FateAnswered, Entry: []byte(canary), Remaining: 1500 * time.Millisecond}},
		{"offer", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Offer(ctx, "n2", crm, []byte(canary)) }, []any{canary}, true},
		{"handout", func(ctx context.Context, p *rpc.Peers) (any, error) {
			return nil, p.NoteHandout(ctx, "n2", crm, credential.Handout{Agent: "bot", Key: "k1", Generation: 7})
		}, []any{crm, credential.Handout{Agent: "bot", Key: "k1", Generation: 7}}, nil},
		{"put", func(ctx context.Context, p *rpc.Peers) (any, error) {
			return p.Put(ctx, "n2", "setting/x", 3, []byte(canary))
		}, []any{"setting/x", uint64(3), canary}, uint64(9)},
		{"put and tell", func(ctx context.Context, p *rpc.Peers) (any, error) {
			return p.PutAndTell(ctx, "n2", "setting/x", 3, []byte(canary), told)
		}, []any{"setting/x", uint64(3), canary, told}, uint64(9)},
		{"emit", func(ctx context.Context, p *rpc.Peers) (any, error) { return nil, p.Emit(ctx, "n2", told...) }, []any{told}, nil},
		{"delete", func(ctx context.Context, p *rpc.Peers) (any, error) { return nil, p.Delete(ctx, "n2", "setting/x", 3) }, []any{"setting/x", uint64(3)}, nil},
		{"outbox", func(ctx context.Context, p *rpc.Peers) (any, error) {
			return p.Outbox(ctx, "n2", 65535, 8, 20, 1500*time.Millisecond)
		}, []any{uint16(65535), credential.EventPos(8), 20, 1500 * time.Millisecond},
			rpc.OutboxPage{First: 2, Last: 9, Events: []credential.StoredEvent{{Pos: 9, Revision: 77, Event: told[1]}}}},
		{"deliveries", func(ctx context.Context, p *rpc.Peers) (any, error) {
			return p.Deliveries(ctx, "n2", 65535, []byte("which"))
		}, []any{uint16(65535), "which"}, []byte("page")},
		{"replay", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Replay(ctx, "n2", 3, []byte("all")) }, []any{uint16(3), "all"}, []byte("replayed")},
		{"join", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Join(ctx, "n2", []byte("me")) }, []any{"n1", "me"}, []byte("welcome")},
		{"promise", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Promise(ctx, "n2", []byte("c1")) }, []any{"n1", "c1"}, []byte("promised")},
		{"release", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Release(ctx, "n2", []byte("c1")) }, []any{"n1", "c1"}, []byte("released")},
		{"status", func(ctx context.Context, p *rpc.Peers) (any, error) { return p.Status(ctx, "n2", 3, 65535) }, []any{[]uint16{3, 65535}},
			[]rpc.GroupStatus{{Group: 3, Applied: 10, Last: 12, Voters: []string{"n1", "n2"}, Learners: []string{"n3"}, MembersIndex: 8, Leader: "n1", Term: 5}}},
	}
}

// equal compares what may hold secrets.
func equal(a, b any) bool {
	reveal := func(v any) any {
		switch v := v.(type) {
		case credential.Token:
			return []any{v.Kind, v.Secret.Reveal(), v.Username, v.TokenType, v.ExpiresAt, v.Scopes, v.Generation, v.Replica}
		case credential.Import:
			return []any{v.Ref, v.Integration, v.Kind, v.Secret.Reveal(), v.RefreshToken.Reveal(), v.Username, v.Scopes, v.ExpiresAt, v.RefreshExpiresAt, v.TokenType,
				v.RequestedScopes, v.Variables, v.Facts, v.Subject, v.AllowOtherIdentity, v.Reauthorise}
		}
		return v
	}
	return reflect.DeepEqual(reveal(a), reveal(b))
}

func TestWhatIsAskedAndAnsweredMeansTheSameOnBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleNode, w.services())
		for _, c := range calls() {
			w.got = nil
			got, err := c.do(t.Context(), r.peers)
			if err != nil || !equal(got, c.want) {
				t.Errorf("%s answered %+v, %v; want %+v", c.name, got, err, c.want)
			}
			if len(w.got) != len(c.got) {
				t.Errorf("%s asked %+v", c.name, w.got)
				continue
			}
			for i := range c.got {
				if !equal(w.got[i], c.got[i]) {
					t.Errorf("%s asked for %+v, want %+v", c.name, w.got[i], c.got[i])
				}
			}
		}
		if s := r.log.String(); s != "" {
			t.Errorf("logged: %s", s)
		}
	})
}

func TestErrorsComeOutAsTheyWentIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleNode, w.services())
		ask := func(err error) error {
			w.err = err
			_, got := r.peers.Account(t.Context(), "n2", crm)
			return got
		}
		for _, s := range []error{
			credential.ErrNotFound, credential.ErrNeedsReauth, credential.ErrDisconnected, credential.ErrExists, credential.ErrProviderUnavailable,
			credential.ErrMisconfigured, credential.ErrNoQuorum, credential.ErrOverloaded, credential.ErrConflict, credential.ErrUnknownOutcome,
			credential.ErrSealed, credential.ErrInvalid, credential.ErrBadName, context.DeadlineExceeded, context.Canceled,
		} {
			if got := ask(s); got != s {
				t.Errorf("%v came out as %v", s, got)
			}
			wrapped := fmt.Errorf("field x: %w", s)
			if got := ask(wrapped); !errors.Is(got, s) || !strings.Contains(got.Error(), wrapped.Error()) {
				t.Errorf("%v came out as %v", wrapped, got)
			}
			u := &credential.Unavailable{Err: s, Reason: "why", RetryAfter: 1500 * time.Millisecond}
			if got := ask(u); !reflect.DeepEqual(got, u) {
				t.Errorf("%v came out as %#v", u, got)
			}
		}
		if got := ask(fmt.Errorf("propose: %w", credential.ErrNotOwner)); !reflect.DeepEqual(got, &rpc.NotOwner{Node: "n2", Leader: "n3", Term: 42}) || !errors.Is(got, credential.ErrNotOwner) {
			t.Errorf("not the owner came out as %#v", got)
		}
		if got := ask(&rpc.NotOwner{Node: "n9", Leader: "n8", Term: 1}); !reflect.DeepEqual(got, &rpc.NotOwner{Node: "n2", Leader: "n8", Term: 1}) {
			t.Errorf("another's word came out as %#v", got)
		}
		w.err = credential.ErrNotOwner
		if _, got := r.peers.Put(t.Context(), "n2", "k", 0, nil); !reflect.DeepEqual(got, &rpc.NotOwner{Node: "n2", Leader: "n4", Term: 43}) {
			t.Errorf("not the leader of meta came out as %#v", got)
		}
		if s := r.log.String(); s != "" {
			t.Errorf("errors of the domain are no faults of the node: %s", s)
		}
		if got := ask(errors.New("disk on fire")); !errors.Is(got, rpc.ErrInternal) || strings.Contains(got.Error(), "fire") || !strings.Contains(r.log.String(), "disk on fire") {
			t.Errorf("a fault came out as %v", got)
		}
	})
}

func TestWhatIsNotThereYetIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rpc.RoleNode, rpc.Services{})
		for _, c := range calls() {
			if _, err := c.do(t.Context(), r.peers); !errors.Is(err, exchange.ErrNotSent) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		w := newWorld()
		r.server.Provide(rpc.Services{Founding: w})
		if b, err := r.peers.Promise(t.Context(), "n2", []byte("x")); err != nil || string(b) != "promised" {
			t.Errorf("a node that is being founded: %q %v", b, err)
		}
		r.server.Provide(w.services())
		if _, err := r.peers.Account(t.Context(), "n2", crm); err != nil {
			t.Error(err)
		}
	})
}

func TestRequestsThatNobodyKnowsAreRefusedAndTheStreamGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for _, role := range []string{rpc.RoleNode, rpc.RoleClient} {
			r := newRig(t, role, w.services())
			req := request("admin", &rpcpb.Request{})
			req.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("new")))
			m, err := r.raw.Do(t.Context(), req)
			if err != nil || m.GetError().GetCode() != rpcpb.Code_CODE_UNIMPLEMENTED || m.GetError().GetText() == "" {
				t.Errorf("%s: %v %v", role, m.GetError().GetCode(), err)
			}
			if m, err := r.raw.Do(t.Context(), request("admin", &rpcpb.Request{Kind: &rpcpb.Request_Account{Account: &rpcpb.Ref{Tenant: "acme", Id: "crm"}}})); err != nil || m.GetAccount() == nil {
				t.Errorf("%s, afterwards: %v", role, err)
			}
		}
	})
}

func TestNamesThatCannotBeAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleNode, w.services())
		for _, ref := range []credential.Ref{{}, {Tenant: "acme"}, {ID: "crm"}, {Tenant: "a/b", ID: "c"}, {Tenant: "acme", ID: strings.Repeat("x", 200)}} {
			if _, err := r.peers.Token(t.Context(), "n2", ref, 0); !errors.Is(err, credential.ErrBadName) {
				t.Errorf("%q: %v", ref, err)
			}
		}
		if w.got != nil {
			t.Errorf("asked %v", w.got)
		}
	})
}

func TestWhoIsNobodyGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, role := range []string{"", "admin"} {
			w := newWorld()
			r := newRig(t, role, w.services())
			for _, c := range calls() {
				if _, err := c.do(t.Context(), r.peers); !errors.Is(err, rpc.ErrRefused) {
					t.Errorf("%s, as %q: %v", c.name, role, err)
				}
			}
			if w.got != nil {
				t.Errorf("asked %v", w.got)
			}
		}
	})
}

func TestCancellationReachesTheOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		v := w.services()
		slow := &slowly{world: w, began: make(chan struct{}, 1), ended: make(chan error, 1)}
		v.Owned = slow
		r := newRig(t, rpc.RoleNode, v)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		go func() {
			<-slow.began
			cancel()
		}()
		if _, err := r.peers.Refresh(ctx, "n2", crm, nil); !errors.Is(err, exchange.ErrLost) || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := <-slow.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the other node's context ended with %v", err)
		}
	})
}

// slowly is a world whose refreshes never end.
type slowly struct {
	*world
	began chan struct{}
	ended chan error
}

func (s *slowly) Refresh(ctx context.Context, _ credential.Ref, _ *uint64) (credential.Account, error) {
	s.began <- struct{}{}
	<-ctx.Done()
	s.ended <- ctx.Err()
	return credential.Account{}, ctx.Err()
}

func TestNodesThatLeftAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleNode, w.services())
		for _, node := range []string{"n2", "n3"} {
			if _, err := r.peers.Account(t.Context(), node, crm); err != nil {
				t.Fatal(err)
			}
		}
		r.peers.Retain([]string{"n2"})
		synctest.Wait()
		if _, err := r.peers.Account(t.Context(), "n3", crm); err != nil {
			t.Errorf("one that came back: %v", err)
		}
		r.peers.Close()
		if _, err := r.peers.Account(t.Context(), "n2", crm); !errors.Is(err, exchange.ErrNotSent) || !errors.Is(err, exchange.ErrClosed) {
			t.Errorf("after closing: %v", err)
		}
	})
}
