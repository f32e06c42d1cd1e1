package node_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/internal/node/nodetest"
	"github.com/grantd/grantd/oauth"
	"github.com/grantd/grantd/outbox"
	"github.com/grantd/grantd/registry"
)

// putHook makes an end point for everything at a node.
func putHook(t *testing.T, c *nodetest.Cluster, r *nodetest.Receiver, at string) {
	t.Helper()
	secret := outbox.NewSecret()
	r.Expect(secret)
	spec := registry.WebhookSpec{URL: "http://app.test/hooks", Events: []string{"*"}, Enabled: true}
	if _, _, err := c.Core(at).Registry.PutWebhook(within(t, 5*time.Second), "app", spec, secret, credential.Secret{}); err != nil {
		t.Fatal(err)
	}
}

// inOrder checks that each account was created before it was disconnected.
func inOrder(t *testing.T, r *nodetest.Receiver) {
	t.Helper()
	seen := make(map[string]string)
	for _, m := range r.Taken() {
		var body struct {
			Type string
			Data struct{ Account string }
		}
		if err := json.Unmarshal([]byte(m.Body), &body); err != nil {
			t.Fatal(err)
		}
		if body.Type == string(credential.EventDisconnected) && seen[body.Data.Account] != string(credential.EventCreated) {
			t.Errorf("%s of %s came after %q", body.Type, body.Data.Account, seen[body.Data.Account])
		}
		seen[body.Data.Account] = body.Type
	}
}

// TestWebhooksSurviveTheCrashOfANode has a node die while messages are under way
// and while others wait.
func TestWebhooksSurviveTheCrashOfANode(t *testing.T) {
	const accounts = 24
	synctest.Test(t, func(t *testing.T) {
		r := nodetest.NewReceiver(t)
		c := nodetest.New(t, nodetest.Options{Expect: 1, Webhooks: r.Transport()})
		c.Start("n1")
		c.Settle()
		putHook(t, c, r, "n1")
		r.Answer(func(m nodetest.Message) int {
			if len(r.Messages())%3 == 0 {
				<-time.After(3 * time.Second) // the node will be dead
				return 200
			}
			return 500
		})
		c.Fill(t.Context(), "n1", accounts)
		for i := range accounts / 2 {
			if _, err := c.Core("n1").Accounts().Disconnect(within(t, 5*time.Second), nodetest.Ref(i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		c.Kill("n1")
		time.Sleep(5 * time.Second)
		r.Answer(nil)
		c.Start("n1")
		c.Settle()
		time.Sleep(10 * time.Minute)
		if created, gone := r.Count(credential.EventCreated), r.Count(credential.EventDisconnected); created != accounts || gone != accounts/2 {
			t.Errorf("%d accounts told as created, %d as disconnected", created, gone)
		}
		inOrder(t, r)
		if pending, parked, _ := c.Core("n1").Webhooks.Open(); pending+parked != 0 {
			t.Errorf("%d pending, %d parked", pending, parked)
		}
		c.Judge()
	})
}

// TestWebhooksSurviveTheDeathOfTheirOwner does the same to a cluster, whose shards
// find another owner.
func TestWebhooksSurviveTheDeathOfTheirOwner(t *testing.T) {
	const accounts = 40
	synctest.Test(t, func(t *testing.T) {
		r := nodetest.NewReceiver(t)
		c := start(t, nodetest.Options{Shards: 8, Webhooks: r.Transport()})
		time.Sleep(10 * time.Second) // until every node owns its share
		putHook(t, c, r, "n2")
		r.Answer(func(nodetest.Message) int { return 503 })
		c.Fill(t.Context(), "n2", accounts)
		time.Sleep(2 * time.Second)
		r.Answer(func(m nodetest.Message) int {
			if len(r.Messages())%2 == 0 {
				<-time.After(2 * time.Second) // taken, but of some nobody will know
				return 200
			}
			return 503
		})
		time.Sleep(5 * time.Second)
		c.Kill("n1")
		for i := range accounts / 2 {
			_, err := c.Core("n3").Accounts().Disconnect(within(t, 20*time.Second), nodetest.Ref(i))
			if errors.Is(err, credential.ErrUnknownOutcome) { // the owner died with it; a second one does nothing more
				_, err = c.Core("n3").Accounts().Disconnect(within(t, 20*time.Second), nodetest.Ref(i))
			}
			if err != nil {
				t.Errorf("account %d: %v", i, err)
			}
		}
		r.Answer(nil)
		time.Sleep(30 * time.Minute)
		if created, gone := r.Count(credential.EventCreated), r.Count(credential.EventDisconnected); created != accounts || gone != accounts/2 {
			t.Errorf("%d accounts told as created, %d as disconnected", created, gone)
		}
		inOrder(t, r)
		doubles := 0
		for _, m := range r.Messages() {
			if m.Status == 200 || m.Status == 204 {
				doubles++
			}
		}
		t.Logf("%d messages taken twice", doubles-accounts-accounts/2)
		c.Start("n1")
		c.Settle()
		messages := len(r.Messages())
		time.Sleep(time.Minute)
		if n := len(r.Messages()); n != messages {
			t.Errorf("%d messages after the dead node came back", n-messages)
		}
		c.Judge()
	})
}

// TestDeliveriesAreListedAndReplayedAtAnyNode, wherever their owners are.
func TestDeliveriesAreListedAndReplayedAtAnyNode(t *testing.T) {
	const accounts = 20
	synctest.Test(t, func(t *testing.T) {
		r := nodetest.NewReceiver(t)
		c := start(t, nodetest.Options{Shards: 8, Webhooks: r.Transport(), Deliveries: outbox.Policy{GiveUpAfter: time.Minute}})
		time.Sleep(10 * time.Second)
		putHook(t, c, r, "n1")
		refuse := true
		r.Answer(func(m nodetest.Message) int {
			if refuse && strings.Contains(m.Body, "a00") {
				return 422
			}
			return 200
		})
		c.Fill(t.Context(), "n1", accounts)
		reg := c.Core("n2").Registry
		in, _ := reg.Integration(nodetest.Integration)
		if err := reg.MarkBroken(t.Context(), in.ID, in.Version, "invalid_client"); err != nil { // an event of the meta group
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if n := r.Count(credential.EventMisconfigured); n != 1 {
			t.Errorf("%d messages of the integration", n)
		}
		for _, at := range c.Names() {
			list := func(q delivery.Query) (all []delivery.Listed) {
				t.Helper()
				q.Webhook, q.Limit = "app", 7
				for cursor := (delivery.Cursor{}); ; {
					some, next, err := c.Core(at).Deliveries(within(t, 5*time.Second), q, cursor)
					if err != nil {
						t.Fatalf("list at %s: %v", at, err)
					}
					all = append(all, some...)
					if cursor = next; next == (delivery.Cursor{}) {
						return all
					}
				}
			}
			if n := len(list(delivery.Query{})); n != accounts+1 {
				t.Errorf("%s lists %d deliveries", at, n)
			}
			if n := len(list(delivery.Query{State: delivery.Parked})); n != 10 {
				t.Errorf("%s lists %d parked ones", at, n)
			}
			if all := list(delivery.Query{Ref: nodetest.Ref(3)}); len(all) != 1 || all[0].Status != 422 || all[0].Attempts < 2 {
				t.Errorf("%s lists of one account %+v", at, all)
			}
		}
		refuse = false
		one, _, err := c.Core("n3").Deliveries(t.Context(), delivery.Query{Webhook: "app", Ref: nodetest.Ref(3), Limit: 1}, delivery.Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		if n, more, err := c.Core("n2").Replay(within(t, 10*time.Second), delivery.Replay{Webhook: "app", Place: one[0].Place}, &one[0].Group); n != 1 || more || err != nil {
			t.Errorf("replay of one: %d, %v, %v", n, more, err)
		}
		if n, more, err := c.Core("n3").Replay(within(t, 10*time.Second), delivery.Replay{Webhook: "app", Parked: true}, nil); n != 9 || more || err != nil {
			t.Errorf("replay of what is parked: %d, %v, %v", n, more, err)
		}
		time.Sleep(time.Minute)
		if n := r.Count(credential.EventCreated); n != accounts {
			t.Errorf("%d taken", n)
		}
		c.Judge()
	})
}

// TestANodeThatStopsSendsNothingTwice: it notes what is under way before it hands
// its shards over.
func TestANodeThatStopsSendsNothingTwice(t *testing.T) {
	const accounts = 16
	synctest.Test(t, func(t *testing.T) {
		r := nodetest.NewReceiver(t)
		c := start(t, nodetest.Options{Webhooks: r.Transport()})
		time.Sleep(10 * time.Second)
		putHook(t, c, r, "n2")
		r.Answer(func(nodetest.Message) int {
			<-time.After(time.Second)
			return 200
		})
		c.Fill(t.Context(), "n2", accounts)
		time.Sleep(500 * time.Millisecond)
		c.Stop("n1")
		time.Sleep(time.Minute)
		if n, taken := len(r.Messages()), len(r.Taken()); n != accounts || taken != accounts {
			t.Errorf("%d messages, %d taken", n, taken)
		}
	})
}

// TestRefreshesAreToldToWhoAsks, and cost nothing otherwise.
func TestRefreshesAreToldToWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := nodetest.NewReceiver(t)
		c := nodetest.New(t, nodetest.Options{Expect: 1, Webhooks: r.Transport()})
		c.Start("n1")
		c.Settle()
		putHook(t, c, r, "n1")
		c.Fill(t.Context(), "n1", 1)
		refresh := func(stale uint64) {
			t.Helper()
			if _, err := c.Core("n1").Accounts().Refresh(within(t, 5*time.Second), nodetest.Ref(0), &stale); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		refresh(1)
		if n := r.Count(credential.EventRefreshed); n != 0 {
			t.Errorf("%d told to an end point of all events", n)
		}
		spec := registry.WebhookSpec{URL: "http://app.test/hooks", Events: []string{"*", string(credential.EventRefreshed)}, Enabled: true}
		if _, _, err := c.Core("n1").Registry.PutWebhook(t.Context(), "app", spec, credential.Secret{}, credential.Secret{}); err != nil {
			t.Fatal(err)
		}
		refresh(2)
		if n := r.Count(credential.EventRefreshed); n != 1 {
			t.Errorf("%d told to who asks for them", n)
		}
	})
}

// TestWebhooksReachNoPrivateAddressUnlessItIsAllowed sends over real sockets, as
// the node does.
func TestWebhooksReachNoPrivateAddressUnlessItIsAllowed(t *testing.T) {
	hits := 0
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer srv.Close()
	at := netip.MustParseAddrPort(srv.Listener.Addr().String())
	for _, allow := range [][]oauth.Exception{nil, {{Prefix: netip.PrefixFrom(at.Addr(), 32), Port: at.Port()}}} {
		transport := oauth.NewTransport(oauth.TransportOptions{Allow: allow})
		defer transport.CloseIdleConnections()
		c := nodetest.New(t, nodetest.Options{Expect: 1, Webhooks: transport})
		c.Start("n1")
		c.Settle()
		spec := registry.WebhookSpec{URL: srv.URL, Events: []string{"*"}, Enabled: true}
		if _, _, err := c.Core("n1").Registry.PutWebhook(within(t, 10*time.Second), "app", spec, outbox.NewSecret(), credential.Secret{}); err != nil {
			t.Fatal(err)
		}
		got, err := c.Core("n1").Webhooks.Test(within(t, 10*time.Second), "app", "test_1")
		switch {
		case err != nil:
			t.Fatal(err)
		case allow == nil && (hits != 0 || got.Status != 0 || !strings.Contains(got.Error, "outgoing.allow") || strings.Contains(got.Error, "127.")):
			t.Errorf("not allowed: %d requests, %+v", hits, got)
		case allow != nil && (hits != 1 || !got.Taken()):
			t.Errorf("allowed: %d requests, %+v", hits, got)
		}
	}
}
