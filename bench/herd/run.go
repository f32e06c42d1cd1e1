package herd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/wire"
)

// tenant holds the accounts of all runs.
const tenant = "herd"

// cleanupTime bounds the cleaning up, which also happens after a run was
// cancelled or ran out of time.
const cleanupTime = 30 * time.Second

// ErrCleanup is wrapped by the error of a run that measured well, but could
// not remove all that it had made. The result is good.
var ErrCleanup = errors.New("herd: accounts or integration of this run are left behind")

// run is one run of the herd.
type run struct {
	c              Config
	node, provider peer
	dialer         *dialer

	id     string // names the integration and begins the names of accounts
	grants []strict.GrantTokens
	names  []string // tenant/id of each account
	// requests are made before the accounts, for the node begins to refresh
	// these at once, and the callers are to come while it does.
	requests []*http.Request
	made     bool // the integration exists
	faultID  string
}

// Run sends the herd and measures. It returns when all callers were answered
// and all that it made was removed, at the latest some time after ctx or the
// configured time has ended. Callers that fail are counted, not errors.
// Errors: [ErrConfig]; what keeps the run from happening; [ErrCleanup].
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	c = c.withDefaults()
	c.Addr, c.Provider = strings.TrimRight(c.Addr, "/"), strings.TrimRight(c.Provider, "/")
	d := newDialer(c.Connections)
	defer d.close()
	nodeTransport, providerTransport := d.transport(c.Connections), &http.Transport{MaxIdleConnsPerHost: workers}
	defer nodeTransport.CloseIdleConnections()
	defer providerTransport.CloseIdleConnections()
	r := &run{
		c: c, dialer: d, id: "herd-" + strings.ToLower(rand.Text()[:10]),
		node:     newPeer(nodeTransport, c.Addr, c.Key),
		provider: newPeer(providerTransport, c.Provider, ""),
	}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	res, err := r.measure(limited)
	later, done := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer done()
	if left := r.cleanup(later); left != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrCleanup, left))
	}
	return res, err
}

// measure does everything but the cleaning up.
func (r *run) measure(ctx context.Context) (Result, error) {
	if err := r.prepare(ctx); err != nil {
		return Result{}, err
	}
	answers := r.crowd()
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
		return Result{}, fmt.Errorf("herd: stopped: %w", err)
	}
	// The numbers count even if the callers used up the run's time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	report, err := r.provider.asked(ctx, r.grants)
	if err != nil {
		return Result{}, err
	}
	refused, err := r.check(ctx, answers)
	if err != nil {
		return Result{}, fmt.Errorf("herd: show the tokens to the provider: %w", err)
	}
	return r.sum(answers, refused, report), nil
}

// sum makes the result of what was measured.
func (r *run) sum(answers []answer, refused map[wire.Secret]bool, report strict.GrantsReport) Result {
	res := Result{
		Callers: r.c.Callers, Accounts: r.c.Accounts,
		ProviderRequests: report.Requests, Replays: report.Replays, Reasons: map[string]int{},
	}
	waits := make([]time.Duration, 0, len(answers))
	for _, a := range answers {
		waits = append(waits, a.wait)
		res.Took = max(res.Took, a.wait)
		switch {
		case a.err != nil:
			res.Reasons[reasonOf(a.err)]++
			res.Failures++
		case refused[a.token]:
			res.Reasons["dead_token"]++
			res.Failures++
		}
	}
	res.Wait = waitsOf(waits)
	return res
}

// prepare makes grants, integration, connections, requests and, last of all,
// the accounts.
func (r *run) prepare(ctx context.Context) error {
	grants, integration, err := r.provider.prepareProvider(ctx, r.c.Accounts)
	if err != nil {
		return err
	}
	r.grants = grants
	if err := r.node.call(ctx, http.MethodPut, "/v1/integrations/"+r.id, integration, nil); err != nil {
		return fmt.Errorf("herd: register the provider with the node: %w", err)
	}
	r.made = true
	if r.c.ProviderDelay > 0 {
		if r.faultID, err = r.provider.slowDown(ctx, max(1, r.c.ProviderDelay.Milliseconds()), r.c.Accounts); err != nil {
			return err
		}
	}
	if err := r.phase(PhaseConnect, r.c.Connections, func(done func()) error {
		return r.dialer.fill(ctx, r.c.Addr, done)
	}); err != nil {
		return err
	}
	r.names = make([]string, len(grants))
	for i := range grants {
		r.names[i] = fmt.Sprintf("%s/%s-%05d", tenant, r.id, i)
	}
	if err := r.makeRequests(ctx); err != nil {
		return err
	}
	return r.phase(PhaseImport, len(grants), func(done func()) error {
		return each(ctx, len(grants), done, r.importAccount)
	})
}

// phase runs fn and tells how far it is.
func (r *run) phase(p Phase, total int, fn func(done func()) error) error {
	add, end := r.track(p, total)
	defer end()
	return fn(add)
}

// importAccount makes an account whose access token has expired an hour ago,
// and whose refresh token is good.
func (r *run) importAccount(ctx context.Context, i int) error {
	expired := wire.At(time.Now().Add(-time.Hour))
	_, id, _ := strings.Cut(r.names[i], "/")
	n := wire.NewAccount{Tenant: tenant, ID: id, Integration: r.id, Credentials: wire.Credentials{
		Type:         wire.TypeOAuth2,
		AccessToken:  wire.Secret(r.grants[i].AccessToken),
		RefreshToken: wire.Secret(r.grants[i].RefreshToken),
		ExpiresAt:    &expired,
	}}
	if err := r.node.call(ctx, http.MethodPost, "/v1/accounts", n, nil); err != nil {
		return fmt.Errorf("herd: make an account: %w", err)
	}
	return nil
}

// cleanup removes what the run made, as far as it came to be.
func (r *run) cleanup(ctx context.Context) error {
	var errs []error
	if r.faultID != "" {
		errs = append(errs, unlessGone(r.provider.call(ctx, http.MethodDelete, "/admin/faults/"+r.faultID, nil, nil)))
	}
	if len(r.names) > 0 {
		errs = append(errs, r.disconnectAll(ctx))
	}
	if r.made {
		errs = append(errs, unlessGone(r.node.call(ctx, http.MethodDelete, "/v1/integrations/"+r.id, nil, nil)))
	}
	return errors.Join(errs...)
}

// disconnectAll removes the accounts. One that cannot be removed does not keep
// the others; the first error stands for all.
func (r *run) disconnectAll(ctx context.Context) error {
	failed := make(chan error, 1)
	err := r.phase(PhaseCleanup, len(r.names), func(done func()) error {
		return each(ctx, len(r.names), done, func(ctx context.Context, i int) error {
			if err := unlessGone(r.node.call(ctx, http.MethodDelete, "/v1/accounts/"+r.names[i], nil, nil)); err != nil {
				select {
				case failed <- err:
				default:
				}
			}
			return nil
		})
	})
	select {
	case first := <-failed:
		return errors.Join(first, err)
	default:
		return err
	}
}

// unlessGone takes it that what is not there needs no removing.
func unlessGone(err error) error {
	var r *refusal
	if errors.As(err, &r) && r.status == http.StatusNotFound {
		return nil
	}
	return err
}
