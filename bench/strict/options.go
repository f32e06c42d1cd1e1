package strict

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"
)

// Defaults of [Options].
const (
	DefaultAccessTTL      = 60 * time.Second
	DefaultRefreshTTL     = 24 * time.Hour
	DefaultCodeTTL        = 60 * time.Second
	DefaultRecordCapacity = 65536
	DefaultMaxGrants      = 2_000_000
)

// Options say what a [Provider] is like. The zero value is a provider with the
// demonstration clients and the defaults above.
type Options struct {
	// Issuer is the provider's own address, such as http://127.0.0.1:8421,
	// without a slash at its end. Empty: whatever host a request names.
	Issuer string
	// Clients are registered from the start; nil: [DemoClients].
	Clients []Client
	// AccessTTL is how long access tokens live, at least a second; answers
	// carry it as expires_in, in whole seconds.
	AccessTTL time.Duration
	// RefreshTTL is how long a refresh token lives from the moment it was
	// issued; each rotation starts it anew.
	RefreshTTL time.Duration
	// CodeTTL is how long an authorization code can be redeemed.
	CodeTTL time.Duration
	// RecordCapacity is how many requests the record keeps; older ones are
	// forgotten, the counters are not.
	RecordCapacity int
	// AskBrowsers has the authorization page ask browsers, which take HTML, before
	// it answers; without it, and others, consent at once.
	AskBrowsers bool
	// MaxGrants bounds the memory: creating more fails with [ErrFull].
	MaxGrants int
	// Received is called with each request that was recorded, before anything
	// is done about it; Processed, after it was worked off (and a refresh token
	// rotated) and before its answer is sent. Both may block, which looks to
	// the client like a slow server, and are called from many goroutines.
	Received  func(Request)
	Processed func(Request)
	// Logger gets the HTTP server's own complaints; nil: they are dropped.
	Logger *slog.Logger
}

// withDefaults fills what was left zero.
func (o Options) withDefaults() Options {
	setDuration(&o.AccessTTL, DefaultAccessTTL)
	setDuration(&o.RefreshTTL, DefaultRefreshTTL)
	setDuration(&o.CodeTTL, DefaultCodeTTL)
	if o.RecordCapacity == 0 {
		o.RecordCapacity = DefaultRecordCapacity
	}
	if o.MaxGrants == 0 {
		o.MaxGrants = DefaultMaxGrants
	}
	if o.Clients == nil {
		o.Clients = DemoClients()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDuration(d *time.Duration, otherwise time.Duration) {
	if *d == 0 {
		*d = otherwise
	}
}

// Validate says what is wrong with the options, all of it at once.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	if o.AccessTTL < time.Second {
		errs = append(errs, fmt.Errorf("strict: AccessTTL is %v; expires_in counts whole seconds, give at least 1s", o.AccessTTL))
	}
	if o.RefreshTTL < 0 || o.CodeTTL < 0 {
		errs = append(errs, fmt.Errorf("strict: RefreshTTL %v and CodeTTL %v must not be negative", o.RefreshTTL, o.CodeTTL))
	}
	if o.RecordCapacity < 0 || o.MaxGrants < 0 {
		errs = append(errs, fmt.Errorf("strict: RecordCapacity %d and MaxGrants %d must not be negative", o.RecordCapacity, o.MaxGrants))
	}
	if u, err := url.Parse(o.Issuer); o.Issuer != "" && (err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		errs = append(errs, fmt.Errorf("strict: Issuer %q is not an address; write it like http://127.0.0.1:8421", o.Issuer))
	}
	for _, c := range o.Clients {
		errs = append(errs, c.Validate())
	}
	return errors.Join(errs...)
}
