package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/feed/feedtest"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/wire"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// someEvents are of several accounts, and of integrations themselves.
func someEvents() []credential.Event {
	of := func(id string, t credential.EventType, tenant, account, integration string) credential.Event {
		return credential.Event{ID: id, Type: t, Ref: credential.Ref{Tenant: tenant, ID: account}, At: noon, Integration: integration, Reason: "r", Generation: 3}
	}
	return []credential.Event{
		of("acme-gh", credential.EventCreated, "acme", "gh", "github"),
		of("acme-sl", credential.EventAuthError, "acme", "sl", "slack"),
		of("globex-gh", credential.EventCreated, "globex", "gh", "github"),
		of("acme", credential.EventCreated, "acme", "", "github"),
		of("github", credential.EventMisconfigured, "", "", "github"),
		of("slack", credential.EventRecovered, "", "", "slack"),
	}
}

// list asks for events as JSON.
func (w *world) list(t *testing.T, key, query string) wire.EventList {
	t.Helper()
	rec := w.call("GET", "/v1/events?"+query, key, "", "Accept", "application/json")
	var l wire.EventList
	if err := json.Unmarshal(rec.Body.Bytes(), &l); err != nil || rec.Code != 200 {
		t.Fatalf("%s: %d %s", query, rec.Code, rec.Body)
	}
	return l
}

func idsOf(l wire.EventList) string {
	var ids []string
	for _, e := range l.Events {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

func TestKeysSeeTheEventsInTheirScope(t *testing.T) {
	w := newWorld(t)
	w.add("gk_ops", httpapi.Key{ID: "ops", Tenant: wire.All, Integrations: []string{"slack"}, Permissions: []string{wire.PermAccountsRead}})
	w.events.Add(1, someEvents()...)
	for _, c := range []struct{ key, query, want string }{
		{adminKey, "", "acme-gh acme-sl globex-gh acme github slack"},
		{acmeKey, "", "acme-gh acme-sl acme"},
		{acmeBoss, "", "acme-gh acme-sl acme"},
		{globexKey, "", "globex-gh"},
		{githubKey, "", "acme-gh acme"},
		{agentKey, "", "acme-gh"},
		{"gk_ops", "", "acme-sl slack"},
		{acmeKey, "&tenant=globex", ""},
		{acmeKey, "&account=globex/gh", ""},
		{githubKey, "&integration=slack", ""},
		{acmeKey, "&types=integration:misconfigured", ""},
		{adminKey, "&tenant=acme", "acme-gh acme-sl acme"},
		{adminKey, "&account=acme/gh", "acme-gh"},
		{adminKey, "&integration=slack", "acme-sl slack"},
		{adminKey, "&types=integrated_account:created,integration:recovered", "acme-gh globex-gh acme slack"},
		{adminKey, "&types=integrated_account:created&tenant=globex", "globex-gh"},
	} {
		if got := idsOf(w.list(t, c.key, "after=start"+c.query)); got != c.want {
			t.Errorf("%s, %q: %q, want %q", c.key, c.query, got, c.want)
		}
	}
	if rec := w.call("GET", "/v1/events", readerKey, ""); rec.Code != http.StatusForbidden {
		t.Errorf("without accounts:read: %d", rec.Code)
	}
	all := w.list(t, adminKey, "after=0")
	want := wire.Event{
		ID: "acme-gh", Type: "integrated_account:created", Timestamp: wire.At(noon),
		Data: wire.EventData{Tenant: "acme", Account: "acme/gh", Integration: "github", Reason: "r", Generation: 3},
	}
	if all.Events[0] != want {
		t.Errorf("got %+v, want %+v", all.Events[0], want)
	}
	if e := all.Events[4]; e.Data.Tenant != "" || e.Data.Account != "" {
		t.Errorf("an event of an integration: %+v", e)
	}
}

// TestAPositionTellsNothing: how much happens to other tenants is not a key's
// business, and neither is how wide a gap is.
func TestAPositionTellsNothing(t *testing.T) {
	w := newWorld(t)
	before := w.list(t, acmeKey, "")
	for range 300 {
		w.events.Add(0, someEvents()[2])
	}
	w.events.Change(0, func(o *feedtest.Outbox) { o.First, o.All = 101, o.All[100:] })
	gap := func(key string) wire.Event {
		t.Helper()
		l := w.list(t, key, "limit=1&after="+before.Next)
		if len(l.Events) != 1 || l.Events[0].Type != wire.EventGap || l.Events[0].ID != "" {
			t.Fatalf("%s: %+v", key, l)
		}
		return l.Events[0]
	}
	if e := gap(acmeKey); e.Data != (wire.EventData{}) {
		t.Errorf("a tenant's key learns of a gap %+v", e)
	}
	if e := gap(adminKey); e.Data.Lost != 100 {
		t.Errorf("an operator learns of a gap %+v", e)
	}
}

func TestEventsAsAListAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start := time.Now()
		empty := w.list(t, acmeKey, "wait=30s")
		if len(empty.Events) != 0 || time.Since(start) != 30*time.Second {
			t.Errorf("%+v after %v", empty, time.Since(start))
		}
		go func() {
			time.Sleep(10 * time.Second)
			w.events.Add(1, someEvents()[2], someEvents()[0])
		}()
		start = time.Now()
		l := w.list(t, acmeKey, "wait=30s&after="+empty.Next)
		if took := time.Since(start); idsOf(l) != "acme-gh" || took < 10*time.Second || took > 11*time.Second {
			t.Errorf("%+v after %v", l, took)
		}
		if l = w.list(t, acmeKey, "after="+l.Next); len(l.Events) != 0 || l.Next == "" {
			t.Errorf("twice: %+v", l)
		}
		first := w.list(t, adminKey, "after=start&limit=1")
		second := w.list(t, adminKey, "after="+first.Next)
		if idsOf(first) != "globex-gh" || idsOf(second) != "acme-gh" {
			t.Errorf("page by page: %q, %q", idsOf(first), idsOf(second))
		}
		// A node that stops answers with what there is.
		go func() {
			time.Sleep(time.Second)
			w.feed.Close()
		}()
		rec := w.call("GET", "/v1/events?wait=30s", acmeKey, "", "Accept", "application/json")
		if rec.Code != 200 && rec.Code != 503 {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

func TestBadRequestsForEventsAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, query := range []string{
		"after=nonsense", "after=17", "types=nonsense", "types=a,b", "types=integrated_account:created,", "tenant=a%2Fb", "account=gh", "integration=%00",
		"wait=soon", "wait=-1s", "wait=2m", "limit=0", "limit=1001", "nonsense=1", "after=a&after=b", "after=" + strings.Repeat("A", 1<<16),
	} {
		rec := w.call("GET", "/v1/events?"+query, acmeKey, "", "Accept", "application/json")
		if rec.Code != http.StatusBadRequest {
			t.Errorf("%.40s: %d %s", query, rec.Code, rec.Body)
		}
	}
	if rec := w.call("GET", "/v1/events", acmeKey, "", "Last-Event-ID", "nonsense"); rec.Code != http.StatusBadRequest {
		t.Errorf("header: %d", rec.Code)
	}
	if rec := w.call("GET", "/v1/events?wait=3s", acmeKey, ""); rec.Code != http.StatusBadRequest {
		t.Errorf("a stream does not know wait: %d", rec.Code)
	}
	if n := w.feed.Counters().Open.Load(); n != 0 {
		t.Errorf("%d streams are left open", n)
	}
}

// pipe is a listener whose connections are in memory, so that tests of time can
// run in a bubble. Nothing is buffered: who does not read holds the writer up.
type pipe struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error   { close(p.done); return nil }
func (p *pipe) Addr() net.Addr { return &net.TCPAddr{} }

// serve serves the world's API, and returns who calls it.
func (w *world) serve(t *testing.T) *http.Client {
	p := &pipe{conns: make(chan net.Conn), done: make(chan struct{})}
	server := httpapi.Server(w.handler)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(p)
	}()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		mine, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return mine, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-ended
	})
	return &http.Client{Transport: transport}
}

// reader reads a stream of events.
type reader struct {
	t   *testing.T
	res *http.Response
	in  *bufio.Reader
	// id is the newest position.
	id string
}

func follow(t *testing.T, c *http.Client, key, query, last string) *reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://grantd.test/v1/events?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, b)
	}
	return &reader{t: t, res: res, in: bufio.NewReader(res.Body)}
}

// next returns the fields of the next message, comments under ":"; nil: the
// stream has ended.
func (r *reader) next() url.Values {
	r.t.Helper()
	fields := url.Values{}
	for {
		line, err := r.in.ReadString('\n')
		if err != nil {
			return nil
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			if fields.Has("id") {
				r.id = fields.Get("id")
			}
			return fields
		}
		name, value, _ := strings.Cut(line, ": ")
		if strings.HasPrefix(line, ": ") {
			name, value = ":", line[2:]
		}
		fields.Set(name, value)
	}
}

// event returns the next event, past signs of life.
func (r *reader) event() (e wire.Event, ok bool) {
	r.t.Helper()
	for {
		m := r.next()
		if m == nil {
			return e, false
		}
		if !m.Has("data") {
			continue
		}
		if err := json.Unmarshal([]byte(m.Get("data")), &e); err != nil || m.Get("event") != e.Type || !m.Has("id") {
			r.t.Errorf("message %v: %v", m, err)
		}
		return e, true
	}
}

func TestAStreamTellsWhatHappensAndGoesOnWhereItBroke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.serve(t)
		r := follow(t, c, acmeKey, "", "")
		first := r.next()
		if first.Get("id") == "" || first.Has("data") {
			t.Errorf("at first comes %v", first)
		}
		nothingYet := r.id
		w.events.Add(1, someEvents()...)
		var got []string
		for range 3 {
			e, _ := r.event()
			got = append(got, e.ID)
		}
		if want := []string{"acme-gh", "acme-sl", "acme"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		behind := r.id
		// In quiet times there are signs of life, and the stream does not end with
		// any deadline of requests.
		begin := time.Now()
		for range 20 {
			if m := r.next(); m == nil || !m.Has(":") {
				t.Fatalf("after %v: %v", time.Since(begin), m)
			}
		}
		if d := time.Since(begin); d < 290*time.Second || d > 340*time.Second {
			t.Errorf("20 signs of life in %v", d)
		}
		_ = r.res.Body.Close()
		w.events.Add(2, credential.Event{ID: "while away", Type: credential.EventReactivated, Ref: credential.Ref{Tenant: "acme", ID: "sl"}})
		for name, again := range map[string]*reader{
			"header": follow(t, c, acmeKey, "after="+nothingYet, behind), "query": follow(t, c, acmeKey, "after="+behind, ""), "quiet": follow(t, c, acmeKey, "", r.id),
		} {
			if e, _ := again.event(); e.ID != "while away" {
				t.Errorf("%s: after the break comes %+v", name, e)
			}
			_ = again.res.Body.Close()
		}
	})
}

func TestAStreamEndsWithItsKeyAndWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.serve(t)
		deleted, goesOn := follow(t, c, acmeKey, "", ""), follow(t, c, adminKey, "", "")
		deleted.next()
		goesOn.next()
		begin := time.Now()
		if err := w.DeleteKey(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if m := deleted.next(); m != nil || time.Since(begin) > 3*time.Second {
			t.Errorf("%v after its key was deleted: %v", time.Since(begin), m)
		}
		w.events.Add(0, someEvents()...)
		if e, ok := goesOn.event(); !ok || e.ID != "acme-gh" {
			t.Errorf("the other one: %+v, %v", e, ok)
		}
		w.feed.Close()
		for e, ok := goesOn.event(); ok; e, ok = goesOn.event() {
			if !slices.ContainsFunc(someEvents(), func(have credential.Event) bool { return have.ID == e.ID }) {
				t.Errorf("at the end comes %+v", e)
			}
		}
		if n := w.feed.Counters().Open.Load(); n != 0 {
			t.Errorf("%d streams are open", n)
		}
	})
}

func TestAReaderThatIsStuckIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.serve(t)
		stuck := follow(t, c, adminKey, "", "")
		stuck.next()
		for i := range 5000 {
			w.events.Add(0, credential.Event{ID: fmt.Sprint(i), Type: credential.EventCreated, Ref: credential.Ref{Tenant: "acme", ID: "gh"}, Integration: strings.Repeat("x", 100)})
		}
		synctest.Wait()
		read := w.events.Reads.Load()
		time.Sleep(20 * time.Second)
		if n := w.events.Reads.Load(); n != read || n > 20 {
			t.Errorf("nobody reads, and the outbox was read %d times, then %d", read, n)
		}
		if n := w.feed.Counters().Open.Load(); n != 1 {
			t.Errorf("%d streams are open: a reader may be slow", n)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if n := w.feed.Counters().Open.Load(); n != 0 {
			t.Errorf("%d streams are open, of a reader that does not read", n)
		}
	})
}

func TestStreamsOfAKeyAndOfANodeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.serve(t)
		for range 3 {
			follow(t, c, acmeKey, "", "")
		}
		rec := w.call("GET", "/v1/events", acmeKey, "")
		if rec.Code != http.StatusTooManyRequests || !strings.Contains(rec.Body.String(), `"too_many_streams"`) || rec.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		for range 2 {
			follow(t, c, globexKey, "", "")
		}
		rec = w.call("GET", "/v1/events", globexKey, "")
		if rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), `"overloaded"`) {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}
