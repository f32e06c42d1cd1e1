package actors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// pair is two nodes' actors over one replicated shard, which the test gives to
// one or the other, against one strict provider. Each has a journal of its own,
// which survives it.
type pair struct {
	t        testing.TB
	provider *strict.Provider
	ints     *integrations
	shard    *replicated
	members  map[string]*member
	links    sync.Map // "n1>n2": cut
}

// member is one of the nodes, through its restarts.
type member struct {
	pair    *pair
	name    string
	boots   int
	journal *notebook
	faults  faults
	tasks   sync.WaitGroup // Lead, Yield and Stop, one at a time

	mu     sync.Mutex
	system *actors.System // nil: it is down
	hook   func(actors.Point)
	cut    *atomic.Bool // this incarnation no longer reaches the provider
}

func inPair(t *testing.T, fn func(t *testing.T, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		provider, err := strict.New(strict.Options{AccessTTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{
			t: t, provider: provider, shard: newReplicated(),
			ints: &integrations{in: actors.Integration{ID: "demo", Provider: "demo", Version: 1, Rotates: true}},
		}
		p.members = map[string]*member{}
		for _, name := range []string{"n1", "n2"} {
			m := &member{pair: p, name: name, journal: &notebook{entries: map[string][]byte{}}}
			p.members[name] = m
			m.start()
		}
		p.lead("n1")
		fn(t, p)
		for _, m := range p.members {
			m.stop()
		}
		synctest.Wait()
		provider.Close()
	})
}

func (m *member) start() {
	m.pair.t.Helper()
	m.boots++
	m.cut = new(atomic.Bool)
	system, err := actors.New(actors.Config{
		Node: m.name, Boot: fmt.Sprint(m.name, "boot", m.boots),
		Stores:  []actors.Store{faultyStore{view{m.pair.shard, m.name, m.cut}, &m.faults}},
		ShardOf: func(credential.Ref) int { return 0 },
		Sealer:  labels{&m.faults}, Provider: oauthish{m.pair.provider.RoundTripper(), m.cut, &m.faults},
		Integrations: m.pair.ints, Journal: page{m.journal, m.cut}, Peers: peers{m.pair, m.name},
		Logger:    slog.New(slog.NewTextHandler(testWriter{m.pair.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Failpoint: m.pass,
	})
	if err != nil {
		m.pair.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.system = system
}

func (m *member) pass(p actors.Point) {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	if hook != nil {
		hook(p)
	}
}

// pointInFlight is when the request is about to be written.
const pointInFlight actors.Point = "in_flight"

// at has fn run when a refresh on this node first passes the point.
func (m *member) at(p actors.Point, fn func()) {
	var once sync.Once
	if p == pointInFlight {
		m.faults.set(func(f *faults) {
			f.call = func(context.Context) *credential.Failure { once.Do(fn); return nil }
		})
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = func(passed actors.Point) {
		if passed == p {
			once.Do(fn)
		}
	}
}

// up returns the running system, or nil.
func (m *member) up() *actors.System {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.system
}

// kill ends the node: nothing that it does from here on counts. Its goroutines
// end by themselves.
func (m *member) kill() {
	m.cut.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	system := m.system
	m.system = nil
	m.tasks.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		system.Stop(ctx)
	})
}

func (m *member) stop() {
	m.tasks.Wait()
	system := m.up()
	if system == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	system.Stop(ctx)
}

// lead makes a node the shard's owner; the other learns of it, where it can,
// and gives the shard up as soon as its actors let it.
func (p *pair) lead(name string) {
	term := p.shard.elect(name)
	p.yield()
	if m := p.members[name]; m.up() != nil {
		m.tasks.Wait()
		m.up().Lead(0, term)
	}
}

func (p *pair) yield() {
	owner := p.shard.owner()
	for name, m := range p.members {
		if system := m.up(); name != owner && system != nil && !p.isCut(name, owner) {
			m.tasks.Go(func() { system.Yield(0) })
		}
	}
}

// cutOff parts node a from node b and the majority: a's replica stays behind.
func (p *pair) cutOff(a, b string) {
	p.links.Store(a+">"+b, true)
	p.links.Store(b+">"+a, true)
	p.shard.freeze(a)
}

// heal joins two nodes; who no longer leads learns of it.
func (p *pair) heal(a, b string) {
	p.links.Delete(a + ">" + b)
	p.links.Delete(b + ">" + a)
	p.shard.thaw()
	p.yield()
}

func (p *pair) isCut(from, to string) bool {
	_, cut := p.links.Load(from + ">" + to)
	return cut
}

// owner returns the owner's system.
func (p *pair) owner() *actors.System { return p.members[p.shard.owner()].up() }

func (p *pair) account(id string) (credential.Ref, strict.Tokens) {
	p.t.Helper()
	return p.accountUntil(id, time.Now().Add(time.Hour))
}

// accountUntil imports a grant of the strict provider, its token with an end
// that may be earlier than what the provider says.
func (p *pair) accountUntil(id string, expires time.Time) (credential.Ref, strict.Tokens) {
	p.t.Helper()
	tok, err := p.provider.NewGrant("demo-basic", "user", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	ref := credential.Ref{Tenant: "acme", ID: id}
	_, _, err = p.owner().Import(p.t.Context(), credential.Import{
		Ref: ref, Integration: "demo", Kind: credential.KindOAuth2, Secret: tok.AccessToken, RefreshToken: tok.RefreshToken,
		ExpiresAt: expires,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return ref, tok
}

func (p *pair) get(ref credential.Ref) credential.Account {
	p.t.Helper()
	a, _, err := p.shard.load("", ref)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// told are the history's lines of a kind.
func (p *pair) told(ref credential.Ref, what credential.What) (details []string) {
	for _, l := range p.shard.lines(ref) {
		if l.What == what {
			details = append(details, l.Detail)
		}
	}
	return details
}

func (p *pair) history(ref credential.Ref) string {
	var b strings.Builder
	for _, l := range p.shard.lines(ref) {
		fmt.Fprintf(&b, "\n  %s %s %s: %s %s", l.At.Format("15:04:05.000"), l.Node, l.What, l.Reason, l.Detail)
	}
	return b.String()
}

func (p *pair) grant(tok strict.Tokens) strict.GrantStatus {
	p.t.Helper()
	g, err := p.provider.Grant(tok.Grant)
	if err != nil {
		p.t.Fatal(err)
	}
	return g
}

// inOrder checks what holds whatever happened: one request at a time, none
// after the end, nothing left in a journal, and a token that is alive.
func (p *pair) inOrder(ref credential.Ref, grant strict.Tokens) {
	p.t.Helper()
	if g := p.grant(grant); g.MaxInFlight > 1 || g.AfterTerminal > 0 || g.Replays > 1 {
		p.t.Errorf("the provider saw %+v", g)
	}
	if p.get(ref).State == credential.StateActive {
		if tok, err := p.owner().Token(p.t.Context(), ref, 0); err != nil || !p.provider.TokenLive(tok.Secret) {
			p.t.Errorf("the token at the end: %v", err)
		}
	}
	for name, m := range p.members {
		if n := m.journal.len(); n > 0 && m.up() != nil {
			p.t.Errorf("%d answers stay in the journal of %s", n, name)
		}
	}
	if p.t.Failed() {
		p.t.Logf("history:%s", p.history(ref))
	}
}

// peers carries what one node asks of the others.
type peers struct {
	pair *pair
	from string
}

var errDown = errors.New("that node is down")

// reach finds another node's system. A node that is cut off swallows what is
// sent to it.
func (x peers) reach(ctx context.Context, node string) (*actors.System, error) {
	if x.pair.isCut(x.from, node) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if system := x.pair.members[node].up(); system != nil {
		return system, nil
	}
	return nil, errDown
}

func (x peers) Fate(ctx context.Context, node string, q credential.FateQuery) (credential.Fate, error) {
	system, err := x.reach(ctx, node)
	if err != nil {
		return credential.Fate{}, err
	}
	return system.Fate(q), nil
}

func (x peers) Offer(ctx context.Context, ref credential.Ref, entry []byte) (bool, error) {
	system, err := x.reach(ctx, x.pair.shard.owner())
	if err != nil {
		return false, err
	}
	return system.Offer(ctx, bytes.Clone(entry))
}

// notebook is a node's journal.
type notebook struct {
	mu      sync.Mutex
	entries map[string][]byte
}

func (n *notebook) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.entries)
}

// page is the journal as one start of the node sees it: what a dead process
// writes is not there.
type page struct {
	*notebook
	dead *atomic.Bool
}

func (p page) Begin(attempt string, value []byte) (func() error, error) {
	if p.dead.Load() {
		return nil, errDown
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries[attempt] = bytes.Clone(value)
	return func() error { return nil }, nil
}

func (p page) Get(attempt string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.entries[attempt]), nil
}

func (p page) Delete(attempt string) error {
	if p.dead.Load() {
		return errDown
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.entries, attempt)
	return nil
}

func (p page) Each(fn func(string, []byte) (bool, error)) error {
	p.mu.Lock()
	entries := maps.Clone(p.entries)
	p.mu.Unlock()
	for _, attempt := range slices.Sorted(maps.Keys(entries)) {
		if more, err := fn(attempt, bytes.Clone(entries[attempt])); err != nil || !more {
			return err
		}
	}
	return nil
}

// replicated is a shard's state, as far as its majority has it. Only the owner
// can write.
type replicated struct {
	mu       sync.Mutex
	leader   string
	term     uint64
	rev      uint64
	accounts map[credential.Ref]revised
	history  map[credential.Ref][]credential.Line
	// revocations are by their id.
	revocations map[string]credential.Revocation
	// behind is what the replica has of a node that is cut off.
	behind map[string]map[credential.Ref]revised
}

type revised struct {
	account credential.Account
	rev     uint64
}

func newReplicated() *replicated {
	return &replicated{
		revocations: make(map[string]credential.Revocation),
		accounts:    map[credential.Ref]revised{}, history: map[credential.Ref][]credential.Line{},
		behind: map[string]map[credential.Ref]revised{},
	}
}

func (s *replicated) freeze(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind[node] = maps.Clone(s.accounts)
}

func (s *replicated) thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.behind)
}

func (s *replicated) elect(name string) (term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = name
	s.term++
	return s.term
}

func (s *replicated) owner() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader
}

// load reads a record: a node's, or for "" the majority's.
func (s *replicated) load(node string, ref credential.Ref) (credential.Account, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	accounts := s.accounts
	if behind, ok := s.behind[node]; ok {
		accounts = behind
	}
	a, ok := accounts[ref]
	if !ok {
		return credential.Account{}, 0, credential.ErrNotFound
	}
	return a.account.Clone(), a.rev, nil
}

// put writes a record past everybody.
func (s *replicated) put(a credential.Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	s.accounts[a.Ref] = revised{a, s.rev}
}

func (s *replicated) lines(ref credential.Ref) []credential.Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history[ref])
}

func (s *replicated) commit(node string, c credential.Change) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader != node {
		return 0, credential.ErrNotOwner
	}
	if s.accounts[c.Ref].rev != c.Expect {
		return 0, credential.ErrConflict
	}
	s.rev++
	s.accounts[c.Ref] = revised{c.After.Clone(), s.rev}
	s.history[c.Ref] = append(s.history[c.Ref], c.Lines...)
	for _, r := range c.Revoked {
		delete(s.revocations, r.ID)
	}
	for _, r := range c.Revoke {
		s.revocations[r.ID] = r
	}
	return s.rev, nil
}

func (s *replicated) toRevoke() []credential.Revocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.revocations), func(a, b credential.Revocation) int { return a.At.Compare(b.At) })
}

// due returns the schedule, in order.
func (s *replicated) due() (all []credential.Due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, a := range s.accounts {
		if !a.account.NextRefreshAt.IsZero() {
			all = append(all, credential.Due{At: a.account.NextRefreshAt, Ref: ref, Integration: a.account.Integration})
		}
	}
	slices.SortFunc(all, compareDue)
	return all
}

func compareDue(a, b credential.Due) int {
	if d := a.At.Compare(b.At); d != 0 {
		return d
	}
	return strings.Compare(a.Ref.String(), b.Ref.String())
}

// view is the shard as one start of a node sees it.
type view struct {
	*replicated
	node string
	dead *atomic.Bool
}

func (v view) Load(ref credential.Ref) (credential.Account, uint64, error) {
	return v.load(v.node, ref)
}

func (v view) Commit(_ context.Context, c credential.Change) (uint64, error) {
	if v.dead.Load() {
		return 0, credential.ErrNoQuorum
	}
	return v.commit(v.node, c)
}

// Holds is true for the owner, of whatever term: terms are the gates' matter.
func (v view) Holds(uint64, time.Time) bool { return !v.dead.Load() && v.owner() == v.node }

func (v view) Prove(ctx context.Context, _ uint64) error { return v.Barrier(ctx) }

func (v view) Barrier(context.Context) error {
	if v.dead.Load() || v.owner() != v.node {
		return credential.ErrNotOwner
	}
	return nil
}

func (v view) Revocations(limit int) ([]credential.Revocation, error) {
	all := v.toRevoke()
	return all[:min(limit, len(all))], nil
}

func (v view) PutOff(_ context.Context, old, next credential.Revocation) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.leader != v.node || v.dead.Load() {
		return credential.ErrNotOwner
	}
	v.revocations[old.ID] = next
	return nil
}

func (v view) Due(now time.Time, after credential.Due, limit int) (out []credential.Due, _ error) {
	for _, d := range v.due() {
		if compareDue(d, after) > 0 && !d.At.After(now) && len(out) < limit {
			out = append(out, d)
		}
	}
	return out, nil
}

func (v view) NextDue(after credential.Due) (time.Time, bool, error) {
	for _, d := range v.due() {
		if compareDue(d, after) > 0 {
			return d.At, true, nil
		}
	}
	return time.Time{}, false, nil
}

func (v view) Accounts(credential.Ref, string, func(credential.Account) bool) error { return nil }

func (v view) History(ref credential.Ref, _ uint64, _ int) (h credential.History, _ error) {
	for i, l := range v.lines(ref) {
		h.Lines = append(h.Lines, credential.NumberedLine{Number: uint64(i), Line: l})
	}
	return h, nil
}
