package strict_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
)

// serve runs p on a socket until the test ends.
func serve(t testing.TB, p *strict.Provider) caller {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, ln) }()
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return caller{t, tr, "http://" + ln.Addr().String()}
}

func TestServeWorksOverASocket(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := serve(t, p), newGrant(t, p, "demo-basic")
	token := g.RefreshToken.Reveal()
	for range 20 {
		a := c.refresh("demo-basic", token)
		wantStatus(t, a, 200, "")
		token = a.RefreshToken
		if c.me(a.AccessToken).Status != 200 {
			t.Fatal("the access token is refused")
		}
	}
	wantRules(t, p)
}

func TestServeIsBackAfterAnOutage(t *testing.T) {
	p := newProvider(t, strict.Options{})
	g := newGrant(t, p, "demo-basic")
	a := serve(t, p).refresh("demo-basic", g.RefreshToken.Reveal())
	wantStatus(t, serve(t, p).refresh("demo-basic", a.RefreshToken), 200, "")
}

func TestServeStopsThoughAFaultDelays(t *testing.T) {
	p := newProvider(t, strict.Options{})
	g := newGrant(t, p, "demo-basic")
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultLatency, Delay: time.Hour}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, ln) }()
	tr := &http.Transport{DisableKeepAlives: true}
	asked := make(chan error, 1)
	go func() {
		_, err := caller{t, tr, "http://" + ln.Addr().String()}.tryPost(context.Background(), "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal()))
		asked <- err
	}()
	eventually(t, "the request has arrived", func() bool { return len(p.Record()) == 1 })
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err == nil {
		t.Fatal("the request was answered")
	}
	if r := last(t, p); r.Outcome != strict.OutcomeStopped || r.Rotated {
		t.Fatalf("the record says %+v", r)
	}
}

func TestServeTellsThatItsListenerFailed(t *testing.T) {
	p := newProvider(t, strict.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := p.Serve(context.Background(), ln); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Serve on a closed listener: %v", err)
	}
}

func TestServeNoticesThatTheClientHangsUp(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c, g := serve(t, p), newGrant(t, p, "demo-basic")
	if err := p.SetFaults(strict.Fault{Kind: strict.FaultSlowAnswer, Delay: time.Hour, Count: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	asked := make(chan error, 1)
	go func() {
		_, err := c.tryPost(ctx, "/token", "demo-basic", refreshForm(g.RefreshToken.Reveal()))
		asked <- err
	}()
	eventually(t, "the token has rotated", func() bool {
		s, _ := p.Grant(g.Grant)
		return s.Sequence == 2 && s.InFlight == 1
	})
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	eventually(t, "the request is no longer in flight", func() bool {
		s, _ := p.Grant(g.Grant)
		return s.InFlight == 0
	})
}

func TestHandlerRefusesABodyThatIsTooLong(t *testing.T) {
	p := newProvider(t, strict.Options{})
	c := serve(t, p)
	a, err := c.tryPost(context.Background(), "/token", "demo-basic", refreshForm(string(make([]byte, 3<<20))))
	if err == nil && a.Status != http.StatusRequestEntityTooLarge {
		t.Fatalf("answered %d", a.Status)
	}
	if len(p.Record()) != 0 {
		t.Fatal("it was recorded as a request")
	}
}
