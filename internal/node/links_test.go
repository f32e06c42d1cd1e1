package node_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/internal/node/nodetest"
)

const idp = "https://idp.test"

// linkTo makes a link at a node and returns its secret.
func linkTo(t *testing.T, c *nodetest.Cluster, at string, ref credential.Ref) string {
	t.Helper()
	made, err := c.Core(at).Connect.Create(within(t, 10*time.Second), connect.NewLink{Ref: ref, Integration: nodetest.Integration})
	if err != nil {
		t.Fatal(err)
	}
	return made.URL.Reveal()[strings.LastIndexByte(made.URL.Reveal(), '/')+1:]
}

// setOut begins a flow at a node, and has the person say yes at the provider.
func setOut(t *testing.T, c *nodetest.Cluster, at, link string) (back url.Values, browser string) {
	t.Helper()
	s, err := c.Core(at).Connect.Start(within(t, 10*time.Second), link, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Provider.RoundTripper().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	to, err := resp.Location()
	if err != nil {
		t.Fatalf("the provider answered %s", resp.Status)
	}
	return to.Query(), s.Browser.Reveal()
}

// putConnectable makes the integration with an authorization page.
func putConnectable(t *testing.T, c *nodetest.Cluster, at string) {
	t.Helper()
	spec := nodetest.Spec()
	spec.Overrides["authorization_url"] = json.RawMessage(`"` + idp + `/auth"`)
	spec.Overrides["issuer"] = json.RawMessage(`"` + idp + `"`)
	spec.Overrides["authorization_response_iss"] = json.RawMessage(`true`)
	if _, _, err := c.Core(at).Registry.PutIntegration(within(t, 10*time.Second), nodetest.Integration, spec, credential.NewSecret("demo-basic-secret")); err != nil {
		t.Fatal(err)
	}
}

// The person opens a link that a node made which is dead since, and comes back
// when the node that sent them to the provider is dead, too.
func TestLinkAndCallbackSurviveTheNodesThatMadeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{Provider: strict.Options{Issuer: idp, AccessTTL: time.Hour}})
		putConnectable(t, c, "n2")
		ref := nodetest.Ref(1)
		link := linkTo(t, c, "n1", ref)
		c.Kill("n1")
		back, browser := setOut(t, c, "n2", link)
		c.Start("n1")
		c.Settle()
		c.Kill("n2")
		if got := c.Core("n3").Connect.Finish(within(t, 30*time.Second), back, browser); got.Outcome != connect.OutcomeDone {
			t.Fatalf("%+v", got)
		}
		if got := c.Core("n1").Connect.Finish(within(t, 30*time.Second), back, browser); got.Outcome != connect.OutcomeDone {
			t.Errorf("the same answer at another node: %+v", got)
		}
		if tok, err := c.Core("n1").Accounts().Token(within(t, 10*time.Second), ref, 0); err != nil || tok.Secret.IsZero() {
			t.Errorf("the token: %v", err)
		}
		c.Judge() // no code was presented twice
	})
}

// A grant is revoked at the provider; the same person comes back through another
// link, and the account goes on under its id.
func TestRevokedGrantIsBroughtBackByALinkUnderItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, nodetest.Options{Provider: strict.Options{Issuer: idp, AccessTTL: time.Hour}})
		putConnectable(t, c, "n1")
		ref := nodetest.Ref(1)
		back, browser := setOut(t, c, "n2", linkTo(t, c, "n1", ref))
		if got := c.Core("n3").Connect.Finish(within(t, 30*time.Second), back, browser); got.Outcome != connect.OutcomeDone {
			t.Fatalf("%+v", got)
		}
		tok, err := c.Core("n2").Accounts().Token(within(t, 10*time.Second), ref, 0)
		if err != nil {
			t.Fatal(err)
		}
		grant, _, ok := c.Provider.GrantOf(tok.Secret)
		if !ok {
			t.Fatal("the token is not the provider's")
		}
		if err := c.Provider.Revoke(grant); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Core("n2").Accounts().Refresh(within(t, 10*time.Second), ref, nil); !errors.Is(err, credential.ErrNeedsReauth) {
			t.Fatalf("the refresh: %v", err)
		}
		back, browser = setOut(t, c, "n3", linkTo(t, c, "n2", ref))
		if got := c.Core("n1").Connect.Finish(within(t, 30*time.Second), back, browser); got.Outcome != connect.OutcomeDone {
			t.Fatalf("again: %+v", got)
		}
		a, err := c.Core("n2").Accounts().Account(within(t, 10*time.Second), ref)
		if err != nil || a.State != credential.StateActive || a.Generation != 2 {
			t.Errorf("%+v, %v", a, err)
		}
		h, err := c.Core("n2").Accounts().History(within(t, 10*time.Second), ref, 0, 10)
		if err != nil || !slices.ContainsFunc(h.Lines, func(l credential.NumberedLine) bool { return l.What == credential.WhatReactivated }) {
			t.Errorf("history %+v, %v", h, err)
		}
		if _, err := c.Core("n3").Accounts().Refresh(within(t, 10*time.Second), ref, nil); err != nil {
			t.Errorf("a refresh of the new grant: %v", err)
		}
		c.Judge()
	})
}

// The node that leads the meta group sweeps. One is enough to see it: an hour of
// three nodes' heartbeats takes half a minute, even in virtual time.
func TestLinksThatNobodyFollowedVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodetest.New(t, nodetest.Options{Expect: 1, Shards: 1, Provider: strict.Options{Issuer: idp}})
		c.Start("n1")
		c.Settle()
		putConnectable(t, c, "n1")
		link := linkTo(t, c, "n1", nodetest.Ref(1))
		look := func(at string) error {
			_, err := c.Core(at).Connect.Look(within(t, 10*time.Second), link)
			return err
		}
		if err := look("n1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(connect.DefaultTTL + time.Minute)
		if err := look("n1"); !errors.Is(err, connect.ErrExpired) {
			t.Errorf("after its time: %v", err)
		}
		time.Sleep(70 * time.Minute)
		for _, at := range c.Names() {
			if err := look(at); !errors.Is(err, connect.ErrNoLink) {
				t.Errorf("an hour later, at %s: %v", at, err)
			}
		}
	})
}
