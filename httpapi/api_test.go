package httpapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
	"github.com/grantd/grantd/wire"
	"github.com/prometheus/client_golang/prometheus"
)

func TestAccountLivesItsLife(t *testing.T) {
	w := newWorld(t)
	rec := w.call("POST", "/v1/accounts", acmeKey, newAccountBody("acme", "github"))
	if rec.Code != 201 || rec.Header().Get("Location") != "/v1/accounts/acme/new" || strings.Contains(rec.Body.String(), canary) {
		t.Fatalf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	if rec := w.call("POST", "/v1/accounts", acmeKey, newAccountBody("acme", "github")); rec.Code != 409 || codeOf(t, rec.Body.String()) != "account_exists" {
		t.Errorf("made twice: %d %s", rec.Code, rec.Body)
	}
	rec = w.call("POST", "/v1/accounts/acme/new/refresh", acmeKey, `{"stale_generation":1}`)
	var a wire.Account
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || a.Generation != 2 || *w.stale != 1 {
		t.Errorf("refresh: %d %s", rec.Code, rec.Body)
	}
	if rec := w.call("POST", "/v1/accounts/acme/new/refresh", acmeKey, ""); rec.Code != 200 || w.stale != nil {
		t.Errorf("refresh without a body: %d %s", rec.Code, rec.Body)
	}
	rec = w.call("DELETE", "/v1/accounts/acme/new", acmeKey, "")
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != 200 || a.State != wire.StateDisconnected {
		t.Errorf("disconnect: %d %s", rec.Code, rec.Body)
	}
	if rec := w.call("GET", "/v1/accounts/acme/new/token", acmeKey, ""); rec.Code != 409 || codeOf(t, rec.Body.String()) != "disconnected" {
		t.Errorf("token after disconnect: %d %s", rec.Code, rec.Body)
	}
	if rec := w.call("POST", "/v1/accounts", acmeKey, newAccountBody("acme", "github")); rec.Code != 200 {
		t.Errorf("brought back: %d %s", rec.Code, rec.Body)
	}
}

func TestMadeIDsAreUsable(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	last := ""
	for range 50 {
		body := strings.Replace(newAccountBody("acme", "github"), `"id":"new",`, "", 1)
		rec := w.call("POST", "/v1/accounts", acmeKey, body)
		var a wire.Account
		if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != 201 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if credential.CheckName("id", a.ID) != nil || seen[a.ID] || a.ID[:13] < last {
			t.Fatalf("made the id %q after %q", a.ID, last)
		}
		seen[a.ID], last = true, a.ID[:13] // the part that is all time
	}
}

func TestTokensOfEveryKind(t *testing.T) {
	for _, c := range []struct{ credentials, want string }{
		{`{"type":"oauth2","access_token":"at","expires_at":"2099-01-01T00:00:00+01:00","scopes":["a"]}`,
			`{"type":"oauth2","access_token":"at","token_type":"Bearer","expires_at":"2098-12-31T23:00:00Z","scopes":["a"],"generation":1}`},
		{`{"type":"client_credentials"}`, `{"type":"oauth2","access_token":"","token_type":"Bearer","expires_at":null,"scopes":[],"generation":1}`},
		{`{"type":"api_key","api_key":"k\"e<y"}`, `{"type":"api_key","api_key":"k\"e<y","generation":1}`},
		{`{"type":"basic","username":"u","password":"p:w"}`, `{"type":"basic","username":"u","password":"p:w","generation":1}`},
	} {
		w := newWorld(t)
		body := `{"tenant":"acme","id":"k","integration":"github","credentials":` + c.credentials + `}`
		if rec := w.call("POST", "/v1/accounts", acmeKey, body); rec.Code != 201 {
			t.Fatalf("%s: %d %s", c.credentials, rec.Code, rec.Body)
		}
		rec := w.call("GET", "/v1/accounts/acme/k/token", acmeKey, "")
		if rec.Body.String() != c.want || rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v\n%s, want\n%s", c.credentials, rec.Header(), rec.Body, c.want)
		}
	}
}

// TestTokenOf64KBPasses sends it through a real connection, both ways.
func TestTokenOf64KBPasses(t *testing.T) {
	w := newWorld(t)
	url := serve(t, w.handler)
	long := strings.Repeat("x", 64<<10)
	body := `{"tenant":"acme","id":"long","integration":"github","credentials":{"type":"oauth2","access_token":"` + long + `"}}`
	if status, answer := send(t, "POST", url+"/v1/accounts", strings.NewReader(body)); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	status, answer := send(t, "GET", url+"/v1/accounts/acme/long/token", nil)
	var tok wire.Token
	if err := json.Unmarshal([]byte(answer), &tok); err != nil || status != 200 || tok.AccessToken.Reveal() != long {
		t.Errorf("%d, %d bytes, %v", status, len(answer), err)
	}
}

func TestHTTP2WithoutTLS(t *testing.T) {
	url := serve(t, newWorld(t).handler)
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &h2}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get(url + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.ProtoMajor != 2 || res.StatusCode != 200 {
		t.Errorf("%s %s", res.Proto, res.Status)
	}
}

// TestBodyOf10MBIsAnsweredAndNothingIsStored goes over a real connection,
// because a client that is cut off while it sends sees no answer.
func TestBodyOf10MBIsAnsweredAndNothingIsStored(t *testing.T) {
	w := newWorld(t)
	url := serve(t, w.handler)
	big := append([]byte(`{"tenant":"`), bytes.Repeat([]byte("x"), 10<<20)...)
	for name, body := range map[string]io.Reader{
		"with its length": bytes.NewReader(big),
		"chunked":         io.MultiReader(bytes.NewReader(big)),
	} {
		status, answer := send(t, "POST", url+"/v1/accounts", body)
		if status != 413 || codeOf(t, answer) != "body_too_large" {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if len(w.records) != 3 {
		t.Errorf("%d accounts, 3 were there", len(w.records))
	}
}

// TestAClientThatWritesItAllFirstSeesTheAnswer writes 10 MB before it reads,
// as simple clients do: the server has to take the bytes for that to end well.
func TestAClientThatWritesItAllFirstSeesTheAnswer(t *testing.T) {
	w := newWorld(t)
	addr := strings.TrimPrefix(serve(t, w.handler), "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const size = 10 << 20
	head := "POST /v1/accounts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + acmeKey + "\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(head), make([]byte, size)...)); err != nil {
		t.Fatalf("the server stopped reading: %v", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%s", res.Status)
	}
}

// serve runs h in a real server until the test ends and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httpapi.Server(h)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return "http://" + ln.Addr().String()
}

func send(t *testing.T, method, url string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+acmeKey)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func TestAnswersToWrongPathsAndMethodsAreProblems(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v1/nothing", 404, ""},
		{"GET", "/v1/links", 405, "POST"},
		{"POST", "/v1/accounts:import", 404, ""}, // not built yet
		{"GET", "/v1/accounts/", 404, ""},
		{"GET", "/v1/accounts/acme", 404, ""},
		{"GET", "/v1//accounts", 404, ""},
		{"GET", "/v1/./accounts", 404, ""},
		{"GET", "/v1/accounts/../keys", 404, ""},
		{"GET", "/v1/accounts/acme/gh/token/", 404, ""},
		{"GET", "/ui/none.js", 404, ""},
		{"PATCH", "/v1/accounts", 405, "GET, HEAD, POST"},
		{"OPTIONS", "/v1/accounts", 405, "GET, HEAD, POST"},
		{"PUT", acmeGitHub, 405, "DELETE, GET, HEAD"},
		{"DELETE", acmeGitHub + "/token", 405, "GET, HEAD"},
		{"GET", acmeGitHub + "/refresh", 405, "POST"},
		{"POST", "/metrics", 405, "GET, HEAD"},
	} {
		rec := w.call(c.method, c.path, acmeKey, "")
		if rec.Code != c.status || rec.Header().Get("Allow") != c.allow || rec.Header().Get("Content-Type") != wire.ProblemType {
			t.Errorf("%s %s: %d, Allow %q, %s", c.method, c.path, rec.Code, rec.Header().Get("Allow"), rec.Body)
		}
	}
	if rec := w.call("HEAD", acmeGitHub+"/token", acmeKey, ""); rec.Code != 200 {
		t.Errorf("HEAD: %d", rec.Code)
	}
}

func TestRemovingANodeTellsHowFarItIs(t *testing.T) {
	w := newWorld(t)
	remove := func(id string) (int, string) {
		rec := w.call("DELETE", "/v1/cluster/nodes/"+id, adminKey, "")
		return rec.Code, rec.Body.String()
	}
	for _, want := range []struct {
		status int
		body   string
	}{
		{202, `{"id":"n2","state":"leaving","shards_left":1}`},
		{202, `{"id":"n2","state":"leaving","shards_left":0}`},
		{200, `{"id":"n2","state":"removed","shards_left":0}`},
		{200, `{"id":"n2","state":"removed","shards_left":0}`},
	} {
		if status, body := remove("n2"); status != want.status || body != want.body {
			t.Errorf("%d %s, want %d %s", status, body, want.status, want.body)
		}
	}
	if status, body := remove("n1"); status != 409 || codeOf(t, body) != wire.CodeLastNode {
		t.Errorf("the last node: %d %s", status, body)
	}
	if status, body := remove("n7"); status != 404 || codeOf(t, body) != wire.CodeNotFound {
		t.Errorf("no node: %d %s", status, body)
	}
	w.fail = credential.ErrNoQuorum
	if status, body := remove("n7"); status != 503 || codeOf(t, body) != wire.CodeNoQuorum || !strings.Contains(body, "Ask another node") {
		t.Errorf("no majority: %d %s", status, body)
	}
}

func TestAPanicIsAnsweredAndNotTold(t *testing.T) {
	for name, v := range map[string]any{"a secret": canary, "an error": error(errSomething), "the runtime's": &struct{}{}} {
		w := newWorld(t)
		w.panics = v
		rec := w.call("GET", "/v1/cluster", adminKey, "")
		if rec.Code != 500 || codeOf(t, rec.Body.String()) != "internal" {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
		logged := w.log.String()
		if strings.Contains(logged+rec.Body.String(), canary) || strings.Contains(logged, errSomething.Error()) {
			t.Errorf("%s: the value of the panic is told: %s %s", name, logged, rec.Body)
		}
		if !strings.Contains(logged, "handler panicked") || !strings.Contains(logged, rec.Header().Get("X-Request-Id")) {
			t.Errorf("%s: the log does not tell: %s", name, logged)
		}
	}
}

// TestLogsHoldNoSecretsAndNoQueries sends secrets through every place that
// takes one, by right or by mistake.
func TestLogsHoldNoSecretsAndNoQueries(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/v1/accounts", acmeKey, newAccountBody("acme", "github"))
	w.call("POST", "/v1/accounts", acmeKey, `{"tenant":"acme","`+canary+`":1}`)
	w.call("GET", acmeGitHub+"/token?min_ttl="+canary, acmeKey, "")
	w.call("GET", acmeGitHub+"/token?"+canary, acmeKey, "")
	w.call("GET", acmeGitHub+"/token", acmeKey, "")
	w.call("GET", "/v1/accounts/"+canary, acmeKey, "")
	w.call("GET", "/"+canary, acmeKey, "")
	w.call(canary, "/v1/accounts", acmeKey, "")
	w.call("GET", "/v1/accounts", canary, "")
	w.call("GET", "/v1/accounts", acmeKey, "", "X-Request-Id", canary+" "+canary)
	w.call("PUT", "/v1/integrations/i", adminKey, `{"provider":"custom","client_id":"c","client_secret":"`+canary+`"}`)
	w.call("POST", "/v1/keys", adminKey, `{"tenant":"acme","permissions":["admin"]}`)
	logged := w.log.String()
	if strings.Contains(logged, canary) || strings.Contains(logged, "gk_") {
		t.Errorf("a log line holds a secret:\n%s", logged)
	}
	if strings.Count(logged, "\n") < 12 {
		t.Errorf("only these lines were logged:\n%s", logged)
	}
}

func TestRequestIDsAreTakenOverOrMade(t *testing.T) {
	w := newWorld(t)
	rec := w.call("GET", "/livez", "", "", "X-Request-Id", "trace-7.a_B")
	if got := rec.Header().Get("X-Request-Id"); got != "trace-7.a_B" || !strings.Contains(w.log.String(), `"request_id":"trace-7.a_B"`) {
		t.Errorf("%q, %s", got, w.log)
	}
	for _, bad := range []string{"", "a b", "a\nb", strings.Repeat("a", 65), "ü"} {
		rec := w.call("GET", "/livez", "", "", "X-Request-Id", bad)
		if got := rec.Header().Get("X-Request-Id"); got == bad || len(got) < 10 {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

func TestInternalErrorsAreLoggedAndNotTold(t *testing.T) {
	w := newWorld(t)
	w.fail = errSomething
	rec := w.call("GET", acmeGitHub+"/token", acmeKey, "")
	if rec.Code != 500 || strings.Contains(rec.Body.String(), errSomething.Error()) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if !strings.Contains(w.log.String(), errSomething.Error()) {
		t.Errorf("not logged: %s", w.log)
	}
}

func TestProbes(t *testing.T) {
	w := newWorld(t)
	if rec := w.call("GET", "/livez", "", ""); rec.Code != 200 || rec.Body.String() != `{"status":"alive"}` {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.call("GET", "/readyz", "", ""); rec.Code != 200 || rec.Body.String() != `{"status":"ready"}` {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.notReady = credential.ErrNoQuorum
	rec := w.call("GET", "/readyz", "", "")
	if rec.Code != 503 || codeOf(t, rec.Body.String()) != "not_ready" || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.call("GET", "/metrics", "", ""); rec.Code != 200 || rec.Body.String() != "# metrics\n" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestRequestsAreCountedByRouteAndNotByName(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	w.handler = w.new(reg)
	w.handler = w.new(reg) // a second API on the same registerer counts into the same series
	w.call("GET", acmeGitHub+"/token", acmeKey, "")
	w.call("GET", "/v1/accounts/acme/none/token", acmeKey, "")
	w.call("GET", "/nowhere", acmeKey, "")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "grantd_http_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			l := m.GetLabel()
			if v := m.GetCounter().GetValue(); v > 0 {
				got[l[0].GetValue()+" "+l[1].GetValue()+" "+l[2].GetValue()] = v
			}
		}
	}
	const route = "GET /v1/accounts/{tenant}/{account}/token "
	if got[route+"200"] != 1 || got[route+"404"] != 1 || got["other none 404"] != 1 || len(got) != 3 {
		t.Errorf("counted %v", got)
	}
}

func TestIntegrationsInUseAreNotDeleted(t *testing.T) {
	w := newWorld(t)
	if rec := w.call("DELETE", "/v1/integrations/slack", adminKey, ""); rec.Code != 409 || codeOf(t, rec.Body.String()) != "integration_in_use" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.call("DELETE", "/v1/accounts/acme/sl", adminKey, "")
	if rec := w.call("DELETE", "/v1/integrations/slack", adminKey, ""); rec.Code != 204 || rec.Body.Len() != 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.call("DELETE", "/v1/integrations/slack", adminKey, ""); rec.Code != 404 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestIntegrationIsShownAsItWasSentButForItsSecret(t *testing.T) {
	w := newWorld(t)
	body := `{"provider":"custom","client_id":"c","client_secret":"` + canary + `","scopes":["a"],"redirect_uri":"https://x/cb","token_url":"https://x/t","pkce":"required"}`
	if rec := w.call("PUT", "/v1/integrations/mine", adminKey, body); rec.Code != 201 || strings.Contains(rec.Body.String(), canary) {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.call("PUT", "/v1/integrations/mine", adminKey, body); rec.Code != 200 {
		t.Errorf("replaced: %d %s", rec.Code, rec.Body)
	}
	rec := w.call("GET", "/v1/integrations/mine", adminKey, "")
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["token_url"] != "https://x/t" || got["pkce"] != "required" || got["client_secret_set"] != true || got["client_secret"] != nil || got["state"] != "ok" {
		t.Errorf("%s", rec.Body)
	}
}
