package outbox

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/storage"
)

// rig is a group in a real store, a registry, and receivers.
type rig struct {
	t      testing.TB
	policy Policy
	d      *Dispatcher

	mu        sync.Mutex
	state     *storage.Group
	index     uint64
	number    int
	bell      chan struct{}
	fault     func() (before, after error) // of the next commit
	endpoints []*delivery.Endpoint
	revision  uint64
	known     uint64 // the revision up to which this node knows the registry
	changed   chan struct{}
	secrets   map[string][]credential.Secret
	answers   map[string]func(r receipt) int
	receipts  []receipt
	at        map[string]int // under way
	most      map[string]int
}

// receipt is a message as a receiver got it.
type receipt struct {
	webhook, id, account, kind string
	at                         time.Time
	status                     int
}

func newRig(t testing.TB, p Policy) *rig {
	t.Helper()
	db, err := storage.Open("data", storage.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, policy: p, state: db.Group(1), bell: make(chan struct{}), changed: make(chan struct{}), known: everything, secrets: make(map[string][]credential.Secret),
		answers: make(map[string]func(receipt) int), at: make(map[string]int), most: make(map[string]int),
	}
	t.Cleanup(func() {
		r.kill()
		synctestWait(t)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func synctestWait(testing.TB) { synctest.Wait() }

// start begins to deliver, as a node that has become the owner does.
func (r *rig) start() {
	r.d = New(Config{Registry: r, Transport: r, Agent: "test", Policy: r.policy, Logger: slog.New(slog.DiscardHandler)})
	r.d.Lead(1, groupStore{r.state, r})
}

// kill ends it as the loss of the group does.
func (r *rig) kill() {
	if r.d != nil {
		r.d.Yield(1)
		r.d.Stop(context.Background())
		r.d = nil
	}
}

// groupStore is the store of the one group.
type groupStore struct {
	*storage.Group
	r *rig
}

func (s groupStore) Grown() <-chan struct{} {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.r.bell
}

func (s groupStore) Barrier(ctx context.Context) error { return ctx.Err() }

func (s groupStore) Commit(ctx context.Context, step delivery.Step) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", credential.ErrUnknownOutcome, err)
	}
	batch, err := storage.EncodeStep(step)
	if err != nil {
		return 0, err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	var after error
	if s.r.fault != nil {
		var before error
		if before, after = s.r.fault(); before != nil {
			return 0, before
		}
	}
	rev, err := s.r.apply(batch)
	if err == nil {
		err = after
	}
	return rev, err
}

// apply applies an entry; r.mu is held.
func (r *rig) apply(batch []byte) (uint64, error) {
	r.index++
	results, err := r.state.Apply([]storage.Command{{Index: r.index, Term: 1, Batch: batch}})
	switch {
	case err != nil:
		return 0, err
	case results[0].Err != nil:
		return 0, results[0].Err
	case results[0].Conflict:
		return 0, credential.ErrConflict
	}
	return r.index, nil
}

// emit commits an event of an account and returns its id.
func (r *rig) emit(account int, kind credential.EventType) string {
	r.t.Helper()
	ref := credential.Ref{Tenant: "acme", ID: fmt.Sprint("a", account)}
	return r.emitEvent(credential.Event{Type: kind, Ref: ref, Integration: "crm", Generation: 3, Reason: "why"})
}

func (r *rig) emitEvent(e credential.Event) string {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	e.ID, e.At = fmt.Sprintf("e%05d", r.number), time.Now().UTC()
	batch, err := storage.Batch{Appends: []storage.Append{storage.AppendEvent(&e)}}.Encode()
	if err == nil {
		_, err = r.apply(batch)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	close(r.bell)
	r.bell = make(chan struct{})
	return e.ID
}

// put makes or changes an end point.
func (r *rig) put(id string, change func(*delivery.Endpoint)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision++
	e := delivery.Endpoint{ID: id, Incarnation: fmt.Sprint(id, r.revision), URL: "https://" + id + ".test/hook", Events: []string{"*"}, Enabled: true, Since: time.Now()}
	all := slices.Clone(r.endpoints)
	at := slices.IndexFunc(all, func(e *delivery.Endpoint) bool { return e.ID == id })
	if at >= 0 {
		e = *all[at]
		all = slices.Delete(all, at, at+1)
	}
	was := e.Enabled
	if change != nil {
		change(&e)
	}
	if e.Enabled && !was {
		e.Since = time.Now()
	}
	e.Revision = r.revision
	if r.secrets[id] == nil {
		r.secrets[id] = []credential.Secret{NewSecret()}
	}
	r.endpoints = append(all, &e)
	r.ring()
}

func (r *rig) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision++
	r.endpoints = slices.DeleteFunc(slices.Clone(r.endpoints), func(e *delivery.Endpoint) bool { return e.ID == id })
	r.ring()
}

func (r *rig) ring() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// everything is what a registry knows that is not behind.
const everything = math.MaxUint64

// know has this node's registry know only what was written up to a revision.
func (r *rig) know(upTo uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = upTo
	r.ring()
}

func (r *rig) Endpoints() []*delivery.Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.endpoints), func(e *delivery.Endpoint) bool { return e.Revision > r.known })
}

func (r *rig) Endpoint(id string) (*delivery.Endpoint, bool) {
	for _, e := range r.Endpoints() {
		if e.ID == id {
			return e, true
		}
	}
	return nil, false
}

func (r *rig) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *rig) Gone(id string, seen uint64) bool {
	_, there := r.Endpoint(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	return !there && min(r.known, r.revision) >= seen
}

func (r *rig) Secrets(_ context.Context, e *delivery.Endpoint) ([]credential.Secret, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.secrets[e.ID], nil
}

func (r *rig) Disable(_ context.Context, e *delivery.Endpoint, _ string) error {
	r.put(e.ID, func(e *delivery.Endpoint) { e.Enabled = false })
	return nil
}

// answer says what a receiver answers: a status, or 0 for nothing at all.
func (r *rig) answer(id string, fn func(receipt) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[id] = fn
}

// RoundTrip is the receivers. They check every signature with the library.
func (r *rig) RoundTrip(req *http.Request) (*http.Response, error) {
	webhook := strings.TrimSuffix(req.URL.Host, ".test")
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	got := receipt{webhook: webhook, id: req.Header.Get("webhook-id"), at: time.Now()}
	r.mu.Lock()
	w, err := standardwebhooks.NewWebhook(r.secrets[webhook][0].Reveal())
	answer := r.answers[webhook]
	r.at[webhook]++
	r.most[webhook] = max(r.most[webhook], r.at[webhook])
	r.mu.Unlock()
	if err == nil {
		err = w.Verify(text, req.Header)
	}
	if err != nil {
		r.t.Errorf("message of %s: %v", webhook, err)
	}
	got.account, got.kind = field(string(text), "account"), field(string(text), "type")
	got.status = http.StatusNoContent
	if answer != nil {
		got.status = answer(got)
	}
	if got.status == 0 {
		<-req.Context().Done()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[webhook]--
	r.receipts = append(r.receipts, got)
	if got.status == 0 {
		return nil, req.Context().Err()
	}
	return &http.Response{StatusCode: got.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("answer"))}, nil
}

// field is the value of a string in JSON that holds no escapes.
func field(text, name string) string {
	_, rest, _ := strings.Cut(text, `"`+name+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// taken returns the ids that a receiver took, each once, in the order of their
// first acceptance.
func (r *rig) taken(webhook string) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, got := range r.receipts {
		if got.webhook == webhook && got.status/100 == 2 && !slices.Contains(ids, got.id) {
			ids = append(ids, got.id)
		}
	}
	return ids
}

func (r *rig) attempts(webhook string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, got := range r.receipts {
		if got.webhook == webhook {
			n++
		}
	}
	return n
}

// listed returns the deliveries of an end point in a state, oldest first.
func (r *rig) listed(webhook string, state delivery.State) (all []delivery.Delivery) {
	r.t.Helper()
	q := delivery.Query{Webhook: webhook, State: state, Limit: 100}
	for {
		page, err := r.state.Deliveries(q)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, page.Deliveries...)
		if q.Below = page.Next; page.Next == (delivery.Place{}) {
			slices.Reverse(all)
			return all
		}
	}
}

// checkStandings compares the counts with what there is.
func (r *rig) checkStandings() {
	r.t.Helper()
	all, err := r.state.Standings()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range all {
		pending, parked, kept := len(r.listed(s.Webhook, delivery.Pending)), len(r.listed(s.Webhook, delivery.Parked)), len(r.listed(s.Webhook, delivery.Delivered))
		if s.Open != pending+parked || s.Parked != parked || s.Kept != kept {
			r.t.Errorf("%s has %d pending, %d parked, %d made ones; its standing is %+v", s.Webhook, pending, parked, kept, s)
		}
	}
}

// ordered checks that the first acceptances of each account are in order.
func (r *rig) ordered(webhook string) {
	r.t.Helper()
	last := map[string]string{}
	seen := map[string]bool{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, got := range r.receipts {
		if got.webhook != webhook || got.status/100 != 2 || seen[got.id] {
			continue
		}
		seen[got.id] = true
		if got.id < last[got.account] {
			r.t.Errorf("%s got %s of %s after %s", webhook, got.id, got.account, last[got.account])
		}
		last[got.account] = got.id
	}
}
