package connect

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/grantd/grantd/credential"
)

// complete exchanges the code of a flow whose state is used up, stores the
// account and notes what became of it.
func (c *Connect) complete(ctx context.Context, name string, r *record, v *verdict) (Outcome, string) {
	outcome, reason := c.connect(ctx, name, r, v)
	_, err := c.change(ctx, name, func(r *record) (bool, []credential.Event, error) {
		f := r.find(v.secret)
		if f == nil {
			return false, nil, nil
		}
		if outcome == OutcomeDone {
			f.Step, f.Missing, f.Verifier = stepDone, v.missing, nil
			r.UsedAt = time.Now().UTC()
			return true, nil, nil // the account's own event tells of it
		}
		f.Step, f.Verifier = stepFailed, nil
		word := reason
		if word == "" {
			word = string(outcome)
		}
		return true, []credential.Event{r.event(credential.EventLinkFailed, word)}, nil
	})
	if err != nil { // the account says what is; the link stays good until it expires
		c.log.Error("outcome of a link could not be stored", "account", r.ref().String(), "outcome", string(outcome), "err", err)
	}
	return outcome, reason
}

// connect exchanges the code and stores the account.
func (c *Connect) connect(ctx context.Context, name string, r *record, v *verdict) (Outcome, string) {
	verifier, err := c.sealer.Open(ctx, v.flow.label(r.Tenant, name), v.flow.Verifier)
	if err != nil {
		c.log.Error("PKCE verifier does not open", "account", r.ref().String(), "err", err)
		return OutcomeNotStored, "not_opened"
	}
	told, facts, err := v.integration.Facts.FromCallback(v.params.Get)
	if err != nil {
		return OutcomeVariables, ""
	}
	if len(told) > 0 {
		all := maps.Clone(told)
		for name, value := range v.flow.Variables {
			if all[name] == "" {
				all[name] = value
			}
		}
		v.flow.Variables = all
	}
	grant, err := c.provider.Exchange(ctx, Answer{
		Authorization: authorization(r, &v.flow, joinState(v.secret, name), nonceOf(v.secret, v.browser), verifier),
		Code:          credential.NewSecret(v.code()), Params: v.params,
	})
	if err != nil {
		c.log.Warn("authorization code could not be exchanged", "account", r.ref().String(), "integration", r.Integration, "err", err)
		if f, ok := errors.AsType[*credential.Failure](err); ok {
			return OutcomeExchange, clean(f.Code)
		}
		return OutcomeExchange, ""
	}
	in := imported(r, &v.flow, grant, time.Now())
	in.Facts = credential.MergeFacts(credential.MergeFacts(nil, facts), in.Facts)
	a, err := c.keep(ctx, in)
	switch {
	case errors.Is(err, credential.ErrOtherIdentity):
		return OutcomeOtherIdentity, ""
	case err != nil:
		c.log.Error("account could not be stored after a person's consent", "account", r.ref().String(), "err", err)
		return OutcomeNotStored, ""
	}
	v.missing = a.MissingScopes()
	return OutcomeDone, ""
}

// imported is the account as the grant makes it.
func imported(r *record, f *flow, g credential.Grant, now time.Time) credential.Import {
	in := credential.Import{
		Ref: r.ref(), Integration: r.Integration, Kind: credential.KindOAuth2,
		Secret: g.AccessToken, RefreshToken: g.RefreshToken, TokenType: g.TokenType,
		Scopes: g.Scopes, RequestedScopes: slices.Clone(r.Scopes),
		Variables: f.Variables, Facts: credential.MergeFacts(nil, g.Facts),
		Subject:            g.Subject.Hash(r.Tenant, r.Integration),
		AllowOtherIdentity: r.AllowOtherIdentity, Reauthorise: true,
	}
	if in.Scopes == nil {
		in.Scopes = slices.Clone(r.Scopes) // RFC 6749 section 5.1: as asked for
	}
	if in.RequestedScopes == nil {
		in.RequestedScopes = []string{}
	}
	if g.ExpiresIn > 0 {
		in.ExpiresAt = now.Add(g.ExpiresIn)
	}
	if g.RefreshExpiresIn > 0 {
		in.RefreshExpiresAt = now.Add(g.RefreshExpiresIn)
	}
	return in
}

// keep stores the account, again while the shard has no owner that can commit:
// the code is spent, so there is no other way to the grant, and importing the same
// credentials twice is harmless.
func (c *Connect) keep(ctx context.Context, in credential.Import) (a credential.Account, err error) {
	for ctx.Err() == nil {
		err = again(ctx, func() (err error) {
			a, _, err = c.accounts.Import(ctx, in)
			return err
		})
		if err == nil || !passes(err) {
			return a, err
		}
	}
	return a, err
}
