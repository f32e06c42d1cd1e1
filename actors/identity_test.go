package actors_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

// consent is what a person's authorisation brings.
func consent(ref credential.Ref, user string) credential.Import {
	return credential.Import{
		Ref: ref, Integration: "demo", Kind: credential.KindOAuth2, Secret: credential.NewSecret("token of " + user), ExpiresAt: time.Now().Add(time.Hour),
		Subject:     credential.Subject{Issuer: "https://idp.example", User: user}.Hash(ref.Tenant, "demo"),
		Reauthorise: true, Facts: map[string]string{"realm": user}, RequestedScopes: []string{"read", "write"}, Scopes: []string{"read"},
	}
}

func TestAnotherIdentityChangesNothingUnlessItIsAllowed(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref := credential.Ref{Tenant: "acme", ID: "crm"}
		if _, created, err := r.system.Import(t.Context(), consent(ref, "ada")); err != nil || !created {
			t.Fatalf("first: created %v, %v", created, err)
		}
		before := r.get(ref)
		other := consent(ref, "bob")
		if _, _, err := r.system.Import(t.Context(), other); !errors.Is(err, credential.ErrOtherIdentity) {
			t.Errorf("another identity: %v", err)
		}
		if after := r.get(ref); after.Generation != before.Generation || !slices.Equal(after.Subject, before.Subject) || !maps.Equal(after.Facts, before.Facts) {
			t.Errorf("it changed %+v into %+v", before, after)
		}
		nobody := consent(ref, "")
		if _, _, err := r.system.Import(t.Context(), nobody); err != nil || !slices.Equal(r.get(ref).Subject, before.Subject) {
			t.Errorf("credentials of nobody known: %v, and the subject is %x", err, r.get(ref).Subject)
		}
		other.AllowOtherIdentity = true
		after, _, err := r.system.Import(t.Context(), other)
		if err != nil || slices.Equal(after.Subject, before.Subject) || after.Facts["realm"] != "bob" {
			t.Errorf("another identity that is allowed: %+v, %v", after, err)
		}
		if got := after.MissingScopes(); !slices.Equal(got, []string{"write"}) {
			t.Errorf("missing scopes are %q", got)
		}
	})
}

func TestWhoAuthorisesAnewKeepsTheAccount(t *testing.T) {
	for state, end := range map[string]func(*rig, credential.Ref) error{
		"active": func(*rig, credential.Ref) error { return nil },
		"needs_reauth": func(r *rig, ref credential.Ref) error {
			stale := r.get(ref).Generation
			_, _ = r.system.Refresh(r.t.Context(), ref, &stale) // there is nothing to refresh with
			return nil
		},
		"disconnected": func(r *rig, ref credential.Ref) error {
			_, err := r.system.Disconnect(r.t.Context(), ref)
			return err
		},
	} {
		t.Run(state, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				ref := credential.Ref{Tenant: "acme", ID: "crm"}
				if _, _, err := r.system.Import(t.Context(), consent(ref, "ada")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Hour)
				if err := end(r, ref); err != nil {
					t.Fatal(err)
				}
				if state != "active" && string(r.get(ref).State) != state {
					t.Fatalf("it is %s", r.get(ref).State)
				}
				want := credential.WhatReactivated
				if r.get(ref).State == credential.StateActive {
					want = credential.WhatReauthorised
				}
				a, created, err := r.system.Import(t.Context(), consent(ref, "ada"))
				if err != nil || created || a.Ref != ref || a.State != credential.StateActive {
					t.Errorf("%+v, created %v, %v", a, created, err)
				}
				if got := r.whats(ref); !slices.Contains(got, want) {
					t.Errorf("history %v, want %s in it", got, want)
				}
			})
		})
	}
}

func TestRefreshesCarryTheAccountsVariablesAndKeepWhatTheProviderTells(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ref, tok := r.account("crm")
		r.ints.in.CheckVariables = func(_ credential.Kind, v map[string]string) error {
			if v["shop"] == "bad" {
				return fmt.Errorf("%w: bad", credential.ErrInvalid)
			}
			return nil
		}
		in := credential.Import{
			Ref: ref, Integration: "demo", Kind: credential.KindOAuth2, Secret: tok.AccessToken, RefreshToken: tok.RefreshToken,
			Variables: map[string]string{"shop": "bad"}, Facts: map[string]string{"realm": "7", "old": "x"},
		}
		if _, _, err := r.system.Import(t.Context(), in); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("variables that cannot be: %v", err)
		}
		in.Variables["shop"] = "acme"
		if _, _, err := r.system.Import(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		var asked credential.TokenRequest
		r.faults.set(func(f *faults) {
			f.told = func(req credential.TokenRequest, g *credential.Grant) {
				asked = req
				g.Facts, g.Scopes = map[string]string{"instance_url": "https://eu.example", "realm": "8", "a b": "dropped"}, []string{"narrower"}
			}
		})
		a, err := r.system.Refresh(t.Context(), ref, nil)
		if err != nil {
			t.Fatal(err)
		}
		if asked.Variables["shop"] != "acme" || asked.Facts["realm"] != "7" {
			t.Errorf("the provider was asked with %v and %v", asked.Variables, asked.Facts)
		}
		if want := map[string]string{"instance_url": "https://eu.example", "realm": "8", "old": "x"}; !maps.Equal(a.Facts, want) {
			t.Errorf("facts %v, want %v", a.Facts, want)
		}
		if !slices.Equal(a.Scopes, []string{"narrower"}) {
			t.Errorf("scopes %q", a.Scopes)
		}
	})
}
