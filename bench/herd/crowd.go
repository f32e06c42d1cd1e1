package herd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/grantd/grantd/wire"
)

// answer is what one caller got.
type answer struct {
	account int
	token   wire.Secret
	wait    time.Duration
	err     error
}

// makeRequests makes the request of each caller.
func (r *run) makeRequests(ctx context.Context) error {
	r.requests = make([]*http.Request, r.c.Callers)
	for i := range r.requests {
		req, err := r.node.request(ctx, http.MethodGet, "/v1/accounts/"+r.names[i%len(r.names)]+"/token", nil)
		if err != nil {
			return err
		}
		r.requests[i] = req
	}
	return nil
}

// crowd lets all callers ask at the same moment and waits for all of them.
func (r *run) crowd() []answer {
	answers := make([]answer, r.c.Callers)
	add, end := r.track(PhaseHerd, r.c.Callers)
	defer end()
	stampede(len(answers), func(i int, began time.Time) {
		var t wire.Token
		err := r.node.do(r.requests[i], &t)
		answers[i] = answer{account: i % len(r.names), token: t.AccessToken, wait: time.Since(began), err: err}
		add()
	})
	return answers
}

// stampede calls ask for 0 to n-1, all at once, and waits for all. began is
// the moment when they were let go.
func stampede(n int, ask func(i int, began time.Time)) {
	start := make(chan struct{})
	var began time.Time // written before start is closed, read after
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			ask(i, began)
		})
	}
	began = time.Now()
	close(start)
	wg.Wait()
}

// Baseline lets callers GET one URL at the same moment, in the very way in
// which [Run] does, and returns how long they waited. It is what a result is
// compared with: the cost of the crowd itself. A caller that is not answered
// with success is an error.
func Baseline(ctx context.Context, address string, callers, connections int) (Waits, error) {
	if callers < 1 || callers > MaxCallers || connections < 1 {
		return Waits{}, fmt.Errorf("%w: %d callers on %d connections; 1 to %d callers and at least one connection are possible", ErrConfig, callers, connections, MaxCallers)
	}
	d := newDialer(connections)
	defer d.close()
	tr := d.transport(connections)
	defer tr.CloseIdleConnections()
	if err := d.fill(ctx, address, func() {}); err != nil {
		return Waits{}, err
	}
	p := newPeer(tr, address, "")
	requests := make([]*http.Request, callers)
	for i := range requests {
		req, err := p.request(ctx, http.MethodGet, "", nil)
		if err != nil {
			return Waits{}, err
		}
		requests[i] = req
	}
	waits, errs := make([]time.Duration, callers), make([]error, callers)
	stampede(callers, func(i int, began time.Time) {
		var t wire.Token
		errs[i] = p.do(requests[i], &t)
		waits[i] = time.Since(began)
	})
	return waitsOf(waits), errors.Join(errs...)
}

// check shows each token that was handed out to the provider, once, and says
// which of them it refuses.
func (r *run) check(ctx context.Context, answers []answer) (refused map[wire.Secret]bool, err error) {
	refused = map[wire.Secret]bool{}
	var tokens []wire.Secret
	for _, a := range answers {
		if _, seen := refused[a.token]; !seen && a.err == nil {
			refused[a.token] = false
			tokens = append(tokens, a.token)
		}
	}
	var mu sync.Mutex
	err = r.phase(PhaseCheck, len(tokens), func(done func()) error {
		return each(ctx, len(tokens), done, func(ctx context.Context, i int) error {
			bearer := r.provider
			bearer.key = tokens[i]
			err := bearer.call(ctx, http.MethodGet, "/api/me", nil, nil)
			if err != nil && reasonOf(err) != "invalid_token" {
				return err
			}
			mu.Lock()
			refused[tokens[i]] = err != nil
			mu.Unlock()
			return nil
		})
	})
	return refused, err
}
