package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/cluster/consensus"
	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/storagetest"
)

// rig is one node's actors over a real store and real raft groups, on a disk
// that can crash, against the strict provider. Sealing is replaced by a check
// of the labels, and package oauth by the shortest client that can be written.
type rig struct {
	t        testing.TB
	disk     *storagetest.Disk
	provider *strict.Provider
	ints     *integrations
	policy   actors.Policy
	hook     func(actors.Point)
	faults   faults
	boots    int

	db     *storage.DB
	host   *consensus.Host
	system *actors.System
	cut    *atomic.Bool // this incarnation no longer reaches the provider
}

const shards = 4

// times is n, or a tenth of it under the race detector.
func times(n int) int {
	if raceEnabled {
		return max(n/10, 1)
	}
	return n
}

// bubble runs fn with a rig in virtual time.
func bubble(t *testing.T, fn func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		provider, err := strict.New(strict.Options{AccessTTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, disk: storagetest.NewDisk(), provider: provider, ints: &integrations{in: actors.Integration{ID: "demo", Provider: "demo", Version: 1, Rotates: true}}}
		r.start()
		fn(t, r)
		r.stop()
		provider.Close()
	})
}

func (r *rig) start() {
	r.t.Helper()
	var err error
	fs := r.disk.FS()
	if r.db, err = storage.Open("data", storage.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10}); err != nil {
		r.t.Fatal(err)
	}
	if r.host, err = consensus.Open(consensus.Config{Node: "n1", Shards: shards, DB: r.db, FS: fs, SpoolDir: "spool"}); err != nil {
		r.t.Fatal(err)
	}
	stores := make([]actors.Store, shards)
	for i := range stores {
		stores[i] = faultyStore{r.host.Shard(uint16(i)), &r.faults}
	}
	r.boots++
	r.cut = new(atomic.Bool)
	r.system, err = actors.New(actors.Config{
		Node: "n1", Boot: fmt.Sprint("boot", r.boots), Stores: stores,
		ShardOf: func(ref credential.Ref) int { return int(ring.ShardOf(ref, shards)) },
		Sealer:  labels{&r.faults}, Provider: oauthish{r.provider.RoundTripper(), r.cut, &r.faults}, Integrations: r.ints, Journal: journal{r.db.Journal(), &r.faults},
		Policy: r.policy, Logger: slog.New(slog.NewTextHandler(testWriter{r.t}, &slog.HandlerOptions{Level: slog.LevelWarn})), Failpoint: r.hook,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for led := 0; led < shards+1; led++ {
		c := <-r.host.Leadership()
		if c.Leading && c.Group != consensus.MetaGroup {
			r.system.Lead(int(c.Group), c.Term)
		}
	}
}

func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r.system.Stop(ctx)
	if err := r.host.Close(ctx); err != nil {
		r.t.Error(err)
	}
	synctest.Wait()
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

// account imports a grant of the strict provider.
func (r *rig) account(id string) (credential.Ref, strict.Tokens) {
	r.t.Helper()
	tok, err := r.provider.NewGrant("demo-basic", "user", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	ref := credential.Ref{Tenant: "acme", ID: id}
	_, _, err = r.system.Import(r.t.Context(), credential.Import{
		Ref: ref, Integration: "demo", Kind: credential.KindOAuth2, Secret: tok.AccessToken, RefreshToken: tok.RefreshToken,
		ExpiresAt: time.Now().Add(tok.ExpiresIn),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return ref, tok
}

func (r *rig) get(ref credential.Ref) credential.Account {
	r.t.Helper()
	a, err := r.system.Account(r.t.Context(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) token(ref credential.Ref) credential.Token {
	r.t.Helper()
	tok, err := r.system.Token(r.t.Context(), ref, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return tok
}

// whats are the words of an account's history, oldest first.
func (r *rig) whats(ref credential.Ref) (out []credential.What) {
	r.t.Helper()
	h, err := r.system.History(r.t.Context(), ref, 0, 256)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, l := range h.Lines {
		out = append([]credential.What{l.What}, out...)
	}
	return out
}

func (r *rig) kept() {
	r.t.Helper()
	for _, v := range r.provider.Judge() {
		r.t.Errorf("the provider saw %+v", v)
	}
}

type journal struct {
	*storage.Journal
	faults *faults
}

func (j journal) Begin(key string, value []byte) (func() error, error) {
	if fn := j.faults.now().begin; fn != nil {
		fn()
	}
	return j.Journal.Begin(key, value)
}

func (j journal) Get(key string) ([]byte, error) {
	v, err := j.Journal.Get(key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// faults are what a test puts in the way of the actors.
type faults struct {
	mu      sync.Mutex
	commit  func(c credential.Change, do func() (uint64, error)) (uint64, error)
	barrier func() error
	expired bool         // the lease has run out
	prove   func() error // in place of a proof
	load    func(credential.Ref) error
	open    func(credential.Label) error
	call    func(context.Context) *credential.Failure
	ask     func()                                           // how long a token lives
	begin   func()                                           // an entry of the journal
	told    func(credential.TokenRequest, *credential.Grant) // what the provider answers
	revoke  func(context.Context) error                      // in place of a revocation that the provider is asked for
}

// set changes the faults.
func (f *faults) set(fn func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(f)
}

// now returns the faults as they stand.
func (f *faults) now() faults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return faults{commit: f.commit, barrier: f.barrier, load: f.load, open: f.open, expired: f.expired, prove: f.prove, call: f.call, ask: f.ask, begin: f.begin, told: f.told, revoke: f.revoke}
}

type faultyStore struct {
	actors.Store
	faults *faults
}

func (s faultyStore) Commit(ctx context.Context, c credential.Change) (uint64, error) {
	do := func() (uint64, error) { return s.Store.Commit(ctx, c) }
	if fn := s.faults.now().commit; fn != nil {
		return fn(c, do)
	}
	return do()
}

// raftTerm is the term in which the node really leads the shard: tests tell their
// systems of terms of their own.
func (s faultyStore) raftTerm(term uint64) uint64 {
	if shard, ok := s.Store.(*consensus.Shard); ok {
		term, _ = shard.Term()
	}
	return term
}

func (s faultyStore) Holds(term uint64, now time.Time) bool {
	term = s.raftTerm(term)
	return !s.faults.now().expired && s.Store.Holds(term, now)
}

func (s faultyStore) Prove(ctx context.Context, term uint64) error {
	if fn := s.faults.now().prove; fn != nil {
		return fn()
	}
	return s.Store.Prove(ctx, s.raftTerm(term))
}

func (s faultyStore) Barrier(ctx context.Context) error {
	if fn := s.faults.now().barrier; fn != nil {
		return fn()
	}
	return s.Store.Barrier(ctx)
}

func (s faultyStore) Load(ref credential.Ref) (credential.Account, uint64, error) {
	if fn := s.faults.now().load; fn != nil {
		if err := fn(ref); err != nil {
			return credential.Account{}, 0, err
		}
	}
	return s.Store.Load(ref)
}

// labels seals by writing the label in front of the secret.
type labels struct{ faults *faults }

func (labels) Seal(_ context.Context, l credential.Label, s credential.Secret) (credential.Sealed, error) {
	return fmt.Appendf(nil, "%v|%s", l, s.Reveal()), nil
}

func (x labels) Open(_ context.Context, l credential.Label, s credential.Sealed) (credential.Secret, error) {
	if fn := x.faults.now().open; fn != nil {
		if err := fn(l); err != nil {
			return credential.Secret{}, err
		}
	}
	v, ok := strings.CutPrefix(string(s), fmt.Sprintf("%v|", l))
	if !ok {
		return credential.Secret{}, credential.ErrSealed
	}
	return credential.NewSecret(v), nil
}

// integrations is a registry with one entry, and others that never change.
type integrations struct {
	mu     sync.Mutex
	in     actors.Integration
	others []actors.Integration
}

func (i *integrations) Lookup(id string) (actors.Integration, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, in := range i.others {
		if in.ID == id {
			return in, true
		}
	}
	return i.in, id == i.in.ID
}

func (i *integrations) MarkBroken(_ context.Context, _ string, version uint64, reason string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if version == i.in.Version {
		i.in.Broken, i.in.Reason = true, reason
	}
	return nil
}

// mend is an operator's edit.
func (i *integrations) mend() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.in.Broken, i.in.Reason, i.in.Version = false, "", i.in.Version+1
}

func (i *integrations) MarkRecovered(_ context.Context, _ string, version uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if version == i.in.Version {
		i.in.Broken, i.in.Reason = false, ""
	}
	return nil
}

// oauthish is an OAuth client of twenty lines.
type oauthish struct {
	rt     http.RoundTripper
	cut    *atomic.Bool
	faults *faults
}

func (o oauthish) post(ctx context.Context, path string, form url.Values) (status int, body map[string]any, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://provider"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("demo-basic", "demo-basic-secret")
	if o.cut.Load() {
		return 0, nil, errors.New("this process is dead")
	}
	resp, err := o.rt.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		_ = json.Unmarshal(b, &body)
	}
	return resp.StatusCode, body, err
}

// integrationKey is what a request's integration stands under in its context.
type integrationKey struct{}

func (o oauthish) Refresh(ctx context.Context, r credential.TokenRequest) (credential.Grant, error) {
	if fn := o.faults.now().call; fn != nil {
		if f := fn(context.WithValue(ctx, integrationKey{}, r.Integration)); f != nil {
			return credential.Grant{}, f
		}
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) { // right before the bytes are written
		return credential.Grant{}, &credential.Failure{Class: credential.Transient, Code: "deadline_passed"}
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.RefreshToken.Reveal()}}
	if r.Kind == credential.KindClientCredentials {
		form = url.Values{"grant_type": {"client_credentials"}}
	}
	status, body, err := o.post(ctx, "/token", form)
	text := func(k string) string { s, _ := body[k].(string); return s }
	switch {
	case err != nil:
		return credential.Grant{}, &credential.Failure{Class: credential.Ambiguous, Code: "no_answer", Sent: true}
	case text("error") == "invalid_grant":
		return credential.Grant{}, &credential.Failure{Class: credential.Terminal, Code: "invalid_grant", Status: status, Sent: true}
	case text("error") == "invalid_client":
		return credential.Grant{}, &credential.Failure{Class: credential.Misconfigured, Code: "invalid_client", Status: status, Sent: true}
	case text("access_token") == "":
		return credential.Grant{}, &credential.Failure{Class: credential.Transient, Code: "server_error", Status: status, Sent: true}
	}
	seconds, _ := body["expires_in"].(float64)
	grant := credential.Grant{
		AccessToken: credential.NewSecret(text("access_token")), RefreshToken: credential.NewSecret(text("refresh_token")),
		TokenType: "Bearer", ExpiresIn: time.Duration(seconds) * time.Second,
	}
	if fn := o.faults.now().told; fn != nil {
		fn(r, &grant)
	}
	return grant, nil
}

func (o oauthish) Lifetime(context.Context, credential.TokenRequest) time.Duration {
	if fn := o.faults.now().ask; fn != nil {
		fn()
	}
	return 0
}

func (o oauthish) Revoke(ctx context.Context, r credential.TokenRequest) error {
	if fn := o.faults.now().revoke; fn != nil {
		if err := fn(ctx); err != nil {
			return err
		}
	}
	status, _, err := o.post(ctx, "/revoke", url.Values{"token": {r.RefreshToken.Reveal()}})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return err
}
