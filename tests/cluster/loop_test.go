package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/grantd/grantd/cluster/ring"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/authserver"
	"github.com/grantd/grantd/tests/browser"
	"github.com/grantd/grantd/tests/process"
	"github.com/grantd/grantd/wire"
)

// TestDeadGrantIsToldMendedInABrowserAndTheJobGoesOn is what grantd is for, from
// end to end: a real server revokes a grant; the account needs its owner, and the
// server is left alone; a signed message tells the product, though the account's
// node is killed while it is on its way; a person goes through a link in a real
// browser; the account is active again under its old id, and the job that waited
// goes on.
func TestDeadGrantIsToldMendedInABrowserAndTheJobGoesOn(t *testing.T) {
	t.Parallel()
	chromium := browser.Find(t, "../browser")
	c := newCluster(t)
	nodes := c.add("n1", "n2", "n3")
	balancer := httptest.NewTLSServer(c.balance(nodes))
	t.Cleanup(balancer.Close)
	for _, n := range nodes {
		n.env = []string{"GRANTD_HTTP_PUBLIC_URL=" + balancer.URL}
	}
	start(nodes...)
	c.settled()

	server := authserver.Start(t, authserver.OIDCProvider, authserver.Options{AccessTTL: 10 * time.Second, RedirectURI: balancer.URL + "/callback"})
	app := server.App(authserver.Basic)
	c.registerAt(server, app)
	receiver := c.subscribe(t)
	grant, err := app.Authorize(t.Context())
	must(t, err)
	c.secrets = append(c.secrets, grant.AccessToken.Reveal(), grant.RefreshToken.Reveal())
	api := nodes[0].api()
	seconds := int64(grant.ExpiresIn / time.Second)
	_, err = api.CreateAccount(t.Context(), wire.NewAccount{Tenant: "acme", ID: "crm", Integration: integration, Credentials: wire.Credentials{
		Type: wire.TypeOAuth2, AccessToken: wire.Secret(grant.AccessToken.Reveal()), RefreshToken: wire.Secret(grant.RefreshToken.Reveal()), ExpiresIn: &seconds,
	}})
	must(t, err)
	receiver.await(c, "integrated_account:created")

	// The person takes the grant back, at the server.
	receiver.refuse(true)
	answer, err := app.Revoke(t.Context(), grant.RefreshToken)
	must(t, err)
	if !answer.OK() {
		t.Fatalf("the server does not revoke: %s", answer)
	}
	c.awaitState(api, wire.StateNeedsReauth)
	asked := len(server.Refreshes())
	id := receiver.awaitAttempt(c, "integrated_account:authentication_error")

	// The owner dies while the message is on its way.
	owner := c.ownerOf(nodes, credential.Ref{Tenant: "acme", ID: "crm"})
	owner.kill()
	receiver.refuse(false)
	if again := receiver.await(c, "integrated_account:authentication_error"); again != id {
		t.Errorf("the message has the id %s, and had %s before the owner died", again, id)
	}
	rest := c.running()
	api = rest[0].api()
	front := httptest.NewServer(c.balance(nodes))
	t.Cleanup(front.Close)
	job := c.startJob(t, front.URL, server.Metadata.Issuer+"/me")
	for _, n := range rest {
		if _, err := n.api().Token(t.Context(), "acme/crm", 0); err == nil {
			t.Error("a token of a dead grant was handed out")
		}
	}
	if now := len(server.Refreshes()); now != asked {
		t.Errorf("the server was asked %d times more for a grant that is dead", now-asked)
	}

	// The person authorises again.
	link, err := api.CreateLink(t.Context(), wire.NewLink{Tenant: "acme", Account: "crm", Integration: integration})
	must(t, err)
	var page struct{ Text string }
	chromium.Run(t, "authorize.mjs", map[string]string{"executable": chromium.Executable, "link": link.URL.Reveal(), "login": "user-1"}, &page)
	if !strings.Contains(page.Text, "is connected") {
		t.Errorf("the person was told: %s", page.Text)
	}
	c.awaitState(api, wire.StateActive)
	receiver.await(c, "integrated_account:reactivated")
	if err := job.wait(); err != nil {
		t.Errorf("the job ended with %v:\n%s", err, job.output.String())
	}
	if said := job.output.String(); !strings.Contains(said, "is back") || !strings.Contains(said, "200 OK") {
		t.Errorf("the job says:\n%s", said)
	}
	receiver.check(t)
}

// balance is a load balancer in front of the nodes that run.
func (c *cluster) balance(nodes []*node) http.Handler {
	return &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		for _, n := range nodes {
			if n.runs() {
				r.SetURL(&url.URL{Scheme: "http", Host: n.http()})
				return
			}
		}
	}}
}

// registerAt makes the integration with a real server.
func (c *cluster) registerAt(s *authserver.Server, app *authserver.App) {
	c.t.Helper()
	n := wire.NewIntegration{
		Provider: wire.ProviderCustom, ClientID: app.ClientID, ClientSecret: wire.Secret(app.Secret.Reveal()), Scopes: app.Scopes,
		Settings: map[string]json.RawMessage{"authorization_response_iss": json.RawMessage("true"), "authorization_params": json.RawMessage(`{"prompt":"consent"}`)},
	}
	for name, value := range map[string]string{
		"issuer": s.Metadata.Issuer, "authorization_url": s.Metadata.Authorization, "token_url": s.Metadata.Token,
		"revocation_url": s.Metadata.Revocation, "token_auth_method": "client_secret_basic", "refresh_rotation": "rotating",
	} {
		n.Settings[name] = wire.AppendString(nil, value)
	}
	_, err := c.running()[0].api().PutIntegration(c.t.Context(), integration, n)
	must(c.t, err)
	c.secrets = append(c.secrets, app.Secret.Reveal())
}

// awaitState waits until the account is in a state.
func (c *cluster) awaitState(api interface {
	Account(ctx context.Context, name string) (wire.Account, error)
}, state string) {
	c.t.Helper()
	c.eventually("acme/crm is "+state, func() error {
		a, err := api.Account(c.t.Context(), "acme/crm")
		if err == nil && a.State != state {
			err = fmt.Errorf("it is %s", a.State)
		}
		return err
	})
}

// ownerOf is the node that owns an account's shard.
func (c *cluster) ownerOf(nodes []*node, ref credential.Ref) *node {
	c.t.Helper()
	seen, err := nodes[0].api().Cluster(c.t.Context())
	must(c.t, err)
	name := seen.Shards[ring.ShardOf(ref, shards)].Owner
	i := slices.IndexFunc(nodes, func(n *node) bool { return n.name == name })
	if i < 0 {
		c.t.Fatalf("the shard's owner is %q", name)
	}
	return nodes[i]
}

// receiver is the product's end point for messages.
type receiver struct {
	verify *standardwebhooks.Webhook

	mu       sync.Mutex
	refusing bool
	attempts map[string][]string // ids by type, refused ones too
	got      map[string][]string // ids by type
	wrong    []string
}

func (c *cluster) subscribe(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{attempts: map[string][]string{}, got: map[string][]string{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	made, err := c.running()[0].api().PutWebhook(t.Context(), "product", wire.NewWebhook{URL: server.URL, Events: []string{"*"}, Tenant: wire.All})
	must(t, err)
	c.secrets = append(c.secrets, made.Secret.Reveal())
	verify, err := standardwebhooks.NewWebhook(made.Secret.Reveal())
	must(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verify = verify
	return r
}

// ServeHTTP takes a message.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	r.mu.Lock()
	defer r.mu.Unlock()
	var message struct{ Type string }
	if err == nil {
		err = json.Unmarshal(body, &message)
	}
	if err == nil {
		err = r.verify.Verify(body, req.Header)
	}
	if err != nil {
		r.wrong = append(r.wrong, fmt.Sprintf("%s: %v", body, err))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	id := req.Header.Get("webhook-id")
	r.attempts[message.Type] = append(r.attempts[message.Type], id)
	if r.refusing {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.got[message.Type] = append(r.got[message.Type], id)
}

// refuse has the end point refuse what comes, or take it.
func (r *receiver) refuse(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = yes
}

// await waits for a message of a type and returns its id.
func (r *receiver) await(c *cluster, kind string) string { return r.first(c, kind, r.got) }

// awaitAttempt is await for one that may have been refused.
func (r *receiver) awaitAttempt(c *cluster, kind string) string {
	return r.first(c, kind, r.attempts)
}

func (r *receiver) first(c *cluster, kind string, of map[string][]string) (id string) {
	c.t.Helper()
	c.eventually("the message "+kind+" comes", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(of[kind]) == 0 {
			return fmt.Errorf("there are %v, wrong ones %q", r.got, r.wrong)
		}
		id = of[kind][0]
		return nil
	})
	return id
}

// check judges all that came: doubles have the same id, and so one id a kind.
func (r *receiver) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for kind, ids := range r.got {
		if len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 1 {
			t.Errorf("of %s there were %v", kind, ids)
		}
	}
	for _, w := range r.wrong {
		t.Errorf("a message that is not right: %s", w)
	}
}

// job is the example of a job that pauses, at work.
type job struct {
	proc   *process.Process
	output *logbook
}

// startJob returns once the job waits for the account's owner.
func (c *cluster) startJob(t *testing.T, addr, target string) *job {
	t.Helper()
	key, err := c.running()[0].api().CreateKey(t.Context(), wire.NewKey{Tenant: "acme", Permissions: []string{wire.PermTokensRead, wire.PermAccountsRead}})
	must(t, err)
	c.secrets = append(c.secrets, key.Secret.Reveal())
	j := &job{output: &logbook{}}
	cmd := exec.Command(program(t, "pausingjob"), "-addr", addr, "-account", "acme/crm", target)
	cmd.Env = append(os.Environ(), "GRANTD_KEY="+key.Secret.Reveal())
	cmd.Stdout = j.output
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	j.proc, err = process.Start(ctx, cmd, func(line string) (string, bool) { return "", strings.Contains(line, "waiting before") })
	must(t, err)
	t.Cleanup(func() { _ = j.proc.Stop(os.Kill) })
	return j
}

// wait returns how the job ended.
func (j *job) wait() error {
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	select {
	case <-j.proc.Ended():
		return j.proc.Stop()
	case <-late.C:
		return fmt.Errorf("not within %v", startTimeout)
	}
}
