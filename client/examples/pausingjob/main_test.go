package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// grantd stands for a server with one account, and for its provider.
type grantd struct {
	mu      sync.Mutex
	state   string
	told    []wire.Event // position n is behind the nth
	grown   chan struct{}
	waiting chan struct{} // has an element for each stream that was opened
	fetched []string
	looks   int
	looked  func() // called when the account was looked at, before the answer
}

func (g *grantd) become(state, event string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = state
	g.told = append(g.told, wire.Event{ID: fmt.Sprint("e", len(g.told)), Type: event, Data: wire.EventData{Account: "acme/gh"}})
	close(g.grown)
	g.grown = make(chan struct{})
}

func (g *grantd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/accounts/acme/gh/token":
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.state != wire.StateActive {
			reply(w, 409, wire.Problem{Status: 409, Code: wire.Code(g.state), Detail: "d"})
			return
		}
		reply(w, 200, wire.Token{Type: wire.TypeOAuth2, AccessToken: "at"})
	case "/v1/accounts/acme/gh":
		g.mu.Lock()
		a := wire.Account{Tenant: "acme", ID: "gh", State: g.state}
		looked := g.looked
		g.looks++
		g.mu.Unlock()
		if looked != nil {
			looked()
		}
		reply(w, 200, a)
	case "/v1/events":
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			g.mu.Lock()
			defer g.mu.Unlock()
			reply(w, 200, wire.EventList{Events: []wire.Event{}, Next: fmt.Sprint(len(g.told))})
			return
		}
		g.stream(w, r)
	default:
		g.mu.Lock()
		defer g.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer at" {
			w.WriteHeader(401)
		}
		g.fetched = append(g.fetched, r.URL.Path)
	}
}

func (g *grantd) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_ = http.NewResponseController(w).Flush()
	n := 0
	if _, err := fmt.Sscan(r.URL.Query().Get("after"), &n); err != nil {
		panic("no position was asked for")
	}
	g.waiting <- struct{}{}
	for {
		g.mu.Lock()
		told, grown := g.told, g.grown
		g.mu.Unlock()
		for ; n < len(told); n++ {
			b, _ := json.Marshal(told[n])
			_, _ = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", n+1, told[n].Type, b)
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-grown:
		case <-r.Context().Done():
			return
		}
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// begin runs a job over three URLs.
func begin(t *testing.T, g *grantd) (server *httptest.Server, ended chan error) {
	t.Helper()
	g.grown, g.waiting = make(chan struct{}), make(chan struct{}, 10)
	server = httptest.NewServer(g)
	c, err := client.New(server.URL, "key", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	ended = make(chan error, 1)
	go func() {
		ended <- newJob(c, "acme/gh", nil, t.Logf).run(ctx, []string{server.URL + "/1", server.URL + "/2", server.URL + "/3"})
	}()
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return server, ended
}

func (g *grantd) check(t *testing.T, err error, looks int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || !slices.Equal(g.fetched, []string{"/1", "/2", "/3"}) || g.looks != looks {
		t.Errorf("the job ended with %v after %v, and looked at the account %d times, want %d", err, g.fetched, g.looks, looks)
	}
}

func TestTheJobWaitsForTheOwnerAndGoesOn(t *testing.T) {
	g := &grantd{state: wire.StateNeedsReauth}
	_, ended := begin(t, g)
	<-g.waiting
	g.become(wire.StateActive, "integrated_account:reactivated")
	g.check(t, <-ended, 1)
}

func TestTheJobSeesAnOwnerWhoWasFaster(t *testing.T) {
	g := &grantd{state: wire.StateNeedsReauth}
	var once sync.Once
	g.looked = func() { // the answer is old when it arrives
		once.Do(func() { g.become(wire.StateActive, "integrated_account:reactivated") })
	}
	_, ended := begin(t, g)
	g.check(t, <-ended, 1)
}

func TestTheJobLooksAgainAfterAGap(t *testing.T) {
	g := &grantd{state: wire.StateNeedsReauth}
	_, ended := begin(t, g)
	<-g.waiting
	g.become(wire.StateNeedsReauth, wire.EventGap)
	<-g.waiting
	g.become(wire.StateActive, "integrated_account:reactivated")
	g.check(t, <-ended, 2)
}

func TestTheJobGivesUpWhatWasDisconnected(t *testing.T) {
	g := &grantd{state: wire.StateNeedsReauth}
	_, ended := begin(t, g)
	<-g.waiting
	g.become(wire.StateDisconnected, "integrated_account:disconnected")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "disconnected") {
		t.Errorf("the job ended with %v", err)
	}
}
