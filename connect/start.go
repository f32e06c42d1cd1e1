package connect

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// View is what a person is shown before they go on to the provider.
type View struct {
	Product  string // who asks; empty: nobody said
	Provider string // in words
	Scopes   []Scope
	// Missing are the variables that the person has to tell.
	Missing []Variable
	Again   bool // the account exists: it is authorised anew
	// PlainOrigins are those of this machine itself, over plain HTTP, that the
	// person will pass on the way; all others are https.
	PlainOrigins []string
}

// Scope is one thing that is asked for.
type Scope struct{ Name, Description string }

// Variable is a part of the provider's address that only the person knows.
type Variable struct {
	Name  string
	Title string // what it is, in words; empty: nobody said
	// Before and After are what stands around it in the address.
	Before, After string
}

// Look says what a link asks for. It uses nothing up. Errors: ErrNoLink,
// ErrExpired, ErrUsed, credential.ErrMisconfigured where the integration is gone.
func (c *Connect) Look(ctx context.Context, link string) (View, error) {
	r, in, err := c.open(ctx, link)
	if err != nil {
		return View{}, err
	}
	v := View{Product: in.Product, Provider: providerName(in)}
	for _, s := range r.Scopes {
		v.Scopes = append(v.Scopes, Scope{Name: s, Description: in.describe(s)})
	}
	with, err := in.Facts.WithVariables(r.Variables)
	if err != nil {
		return View{}, fmt.Errorf("%w: %w", credential.ErrMisconfigured, err)
	}
	for _, name := range toTell(with) {
		v.Missing = append(v.Missing, variable(name, with))
	}
	for _, address := range []string{with.AuthorizationURL, r.ReturnURL} {
		if u, err := url.Parse(address); err == nil && u.Scheme == "http" {
			v.PlainOrigins = append(v.PlainOrigins, originOf(u))
		}
	}
	if _, err := c.accounts.Account(ctx, r.ref()); err == nil {
		v.Again = true
	}
	return v, nil
}

func providerName(in Integration) string {
	if in.Facts.Name != "" {
		return in.Facts.Name
	}
	return "the provider"
}

// toTell are the variables that a person has to tell: those without a value that
// the callback will not tell, or that are needed to get there.
func toTell(p catalog.Provider) []string {
	return slices.DeleteFunc(p.MissingVariables(), func(name string) bool {
		_, told := p.CallbackVariables[name]
		return told && !strings.Contains(p.AuthorizationURL, "{"+name+"}")
	})
}

// variable says what a variable is, and where in the host of an address it stands.
func variable(name string, p catalog.Provider) Variable {
	v := Variable{Name: name, Title: p.URLVariableTitles[name]}
	_, rest, _ := strings.Cut(p.AuthorizationURL, "://")
	host, _, _ := strings.Cut(rest, "/")
	if before, after, found := strings.Cut(host, "{"+name+"}"); found && !strings.ContainsAny(before+after, "{}") {
		v.Before, v.After = before, after
	}
	return v
}

// open reads a link that is still good, and its integration. The first who comes
// too late is told of by an event.
func (c *Connect) open(ctx context.Context, link string) (*record, Integration, error) {
	if !isSecret(link) {
		return nil, Integration{}, ErrNoLink
	}
	name, now := recordOf(link), time.Now()
	r, _, err := c.load(name)
	if err != nil {
		return nil, Integration{}, err
	}
	switch {
	case !r.UsedAt.IsZero():
		return nil, Integration{}, ErrUsed
	case !now.Before(r.ExpiresAt):
		c.tellExpired(ctx, name)
		return nil, Integration{}, ErrExpired
	}
	in, ok := c.integrations.ConnectIntegration(r.Integration)
	if !ok {
		return nil, Integration{}, &credential.Unavailable{Err: credential.ErrMisconfigured, Reason: "integration " + r.Integration + " does not exist"}
	}
	return r, in, nil
}

// tellExpired gives the event that somebody came too late, once a link.
func (c *Connect) tellExpired(ctx context.Context, name string) {
	_, err := c.change(ctx, name, func(r *record) (bool, []credential.Event, error) {
		if r.ToldExpired {
			return false, nil, nil
		}
		r.ToldExpired = true
		return true, []credential.Event{r.event(credential.EventLinkExpired, "link_expired")}, nil
	})
	if err != nil {
		c.log.Warn("event of an expired link could not be stored", "err", err)
	}
}

// Started is a flow that was begun.
type Started struct {
	URL     string            // the provider's, to send the person to
	Browser credential.Secret // for the browser's cookie
}

// Start begins a flow: a state of its own, bound to the browser that has the
// returned mark. browser is the mark that it has already, so that two windows do
// not take each other's away; empty or nonsense: it gets a new one. Errors are
// those of [Connect.Look], *[MissingVariables], credential.ErrInvalid for
// variables that cannot be, and what the provider's protocol says.
func (c *Connect) Start(ctx context.Context, link, browser string, variables map[string]string) (Started, error) {
	r, in, err := c.open(ctx, link)
	if err != nil {
		return Started{}, err
	}
	all, err := fill(r, in, variables)
	if err != nil {
		return Started{}, err
	}
	if !isSecret(browser) {
		browser = newSecret()
	}
	name, secret, verifier := recordOf(link), newSecret(), credential.NewSecret(newSecret())
	now := time.Now().UTC()
	f := flow{
		State: hashOf("state", secret), Browser: hashOf("browser", browser), Number: uint64(now.UnixNano()),
		RedirectURI: in.RedirectURI, Variables: all, StartedAt: now, ExpiresAt: now.Add(FlowTTL),
	}
	if f.RedirectURI == "" {
		f.RedirectURI = c.public + "/callback"
	}
	if f.Issuer, err = issuer(in, all); err != nil {
		return Started{}, err
	}
	err = again(ctx, func() error {
		f.Verifier, err = c.sealer.Seal(ctx, f.label(r.Tenant, name), verifier)
		return err
	})
	if err != nil {
		return Started{}, err
	}
	address, err := c.provider.Authorize(ctx, authorization(r, &f, joinState(secret, name), nonceOf(secret, browser), verifier))
	if err != nil {
		return Started{}, err
	}
	_, err = c.change(ctx, name, func(r *record) (bool, []credential.Event, error) {
		if !r.UsedAt.IsZero() {
			return false, nil, ErrUsed
		}
		if r.find(secret) != nil {
			return false, nil, nil // it was written after all
		}
		r.Flows = append(r.Flows, f)
		if len(r.Flows) > maxFlows {
			r.Flows = r.Flows[1:]
		}
		if keep := f.ExpiresAt.Add(keepAfter); keep.After(r.KeepUntil) {
			r.KeepUntil = keep
		}
		return true, nil, nil
	})
	return Started{URL: address, Browser: credential.NewSecret(browser)}, err
}

func authorization(r *record, f *flow, state, nonce string, verifier credential.Secret) Authorization {
	return Authorization{
		Integration: r.Integration, Variables: f.Variables, Scopes: r.Scopes,
		RedirectURI: f.RedirectURI, State: state, Nonce: nonce, Verifier: verifier,
	}
}

// fill adds what the person told to the link's variables. Only what is missing
// can be told.
func fill(r *record, in Integration, told map[string]string) (map[string]string, error) {
	with, err := in.Facts.WithVariables(r.Variables)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", credential.ErrMisconfigured, err)
	}
	missing := toTell(with)
	if len(missing) == 0 {
		return r.Variables, nil
	}
	all := maps.Clone(r.Variables)
	if all == nil {
		all = make(map[string]string)
	}
	lacks := &MissingVariables{}
	for _, name := range missing {
		if value := strings.TrimSpace(told[name]); value != "" {
			all[name] = value
		} else {
			lacks.Names = append(lacks.Names, name)
		}
	}
	if len(lacks.Names) > 0 {
		return nil, lacks
	}
	return all, in.Facts.CheckVariables(all)
}

// issuer fills the variables of the integration's issuer; empty: not known.
func issuer(in Integration, variables map[string]string) (string, error) {
	if in.Issuer == "" {
		return "", nil
	}
	with, err := in.Facts.WithVariables(variables)
	if err != nil {
		return "", err
	}
	return with.Fill(in.Issuer)
}
