package tests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/bench/strict/stricttest"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// stopped ends the node in order, for tests that look at its data.
func (g *grantd) stopped() {
	g.t.Helper()
	if err := g.proc.Stop(syscall.SIGTERM); err != nil {
		g.t.Fatalf("stop grantd: %v", err)
	}
	g.http.CloseIdleConnections()
}

// refusedStart starts a node that must refuse, and returns the one line by
// which it says why.
func refusedStart(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(grantdBinary(t), "serve", "--config", "grantd.yaml")
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("ended with %v, want exit status 1; it said:\n%s", err, &errs)
	}
	return strings.TrimSpace(errs.String())
}

// fingerprint is a hash of the files in a folder, to see that nothing changed.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n", path, len(b))
		h.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func rewrite(t *testing.T, path string, change func(string) string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(b))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStartThatCannotBeSaysWhatToDoAndChangesNothing(t *testing.T) {
	g := startGrantd(t)
	g.must(http.MethodPut, "/v1/integrations/keys", wire.NewIntegration{Provider: wire.ProviderCustom, ClientID: "x", Settings: tokenURL("https://idp.example.com/token")}, nil)
	g.must(http.MethodPost, "/v1/accounts", wire.NewAccount{Tenant: "acme", ID: "crm", Integration: "keys", Credentials: wire.Credentials{Type: wire.TypeAPIKey, APIKey: "the-customers-own-key"}}, nil)

	inUse := refusedStart(t, g.dir)
	if !strings.Contains(inUse, "in use") {
		t.Errorf("a second node on the same data: %q", inUse)
	}
	g.stopped()
	config, data := filepath.Join(g.dir, "grantd.yaml"), filepath.Join(g.dir, "data")
	kek, admin := filepath.Join(data, "kek.json"), filepath.Join(data, "admin.key")
	store := filepath.Join(data, "store")
	original, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	setting := func(line string) func() {
		return func() { rewrite(t, config, func(s string) string { return s + line + "\n" }) }
	}
	for _, tc := range []struct {
		name  string
		spoil func()
		says  []string
	}{
		{"another key file", func() { otherKey(t, kek) }, []string{"kek.json", "does not open the data", "backup"}},
		{"no key file", func() { mustDo(t, os.Remove(kek)) }, []string{"kek.json", "does not exist", "backup"}},
		{"a key file that all may read", func() { mustDo(t, os.Chmod(kek, 0o644)) }, []string{"chmod 600"}},
		{"garbage in the key file", func() { rewrite(t, kek, func(string) string { return "{}" }) }, []string{"kek.json", "keyset"}},
		{"a short admin key", func() { rewrite(t, admin, func(string) string { return "secret" }) }, []string{"admin.key", "16"}},
		{"another number of shards", setting("cluster: {shards: 7}"), []string{"32 shards", "says 7"}},
		{"an unknown key", setting("sealing: {kek: x}"), []string{"grantd.yaml", "sealing"}},
		{"an address that is taken", setting(""), []string{"http.listen", "in use"}},
		{"a data folder that is a file", setting(""), []string{"grantd.yaml", "not a directory"}},
		{"a data folder that cannot be written", setting(""), []string{"/proc/grantd"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keep := snapshot(t, kek, admin, config)
			defer keep()
			before := fingerprint(t, store)
			tc.spoil()
			switch tc.name {
			case "an address that is taken":
				rewrite(t, config, func(s string) string { return strings.Replace(s, "127.0.0.1:0", taken.Addr().String(), 1) })
			case "a data folder that is a file":
				rewrite(t, config, func(s string) string { return strings.Replace(s, "./data", "./grantd.yaml", 1) })
			case "a data folder that cannot be written":
				rewrite(t, config, func(s string) string { return strings.Replace(s, "./data", "/proc/grantd", 1) })
			}
			said := refusedStart(t, g.dir)
			if strings.Contains(said, "\n") {
				t.Errorf("it took more than a line:\n%s", said)
			}
			for _, word := range tc.says {
				if !strings.Contains(said, word) {
					t.Errorf("%q does not say %q", said, word)
				}
			}
			if tc.name != "another number of shards" && tc.name != "another key file" && tc.name != "a short admin key" && fingerprint(t, store) != before {
				t.Error("the store changed") // those three are noticed when the store is open
			}
		})
	}
	if now, err := os.ReadFile(config); err != nil || !bytes.Equal(now, original) {
		t.Fatalf("the configuration was not put back: %v", err)
	}
	g.start()
	var tok wire.Token
	g.must(http.MethodGet, "/v1/accounts/acme/crm/token", nil, &tok)
	if tok.APIKey != "the-customers-own-key" {
		t.Error("after all of that, the account's key is not what was stored")
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// snapshot returns what puts files back as they are now.
func snapshot(t *testing.T, paths ...string) func() {
	t.Helper()
	kept := make(map[string][]byte)
	for _, p := range paths {
		b, err := os.ReadFile(p)
		mustDo(t, err)
		kept[p] = b
	}
	return func() {
		for p, b := range kept {
			_ = os.Remove(p)
			mustDo(t, os.WriteFile(p, b, 0o600))
		}
	}
}

// otherKey replaces a key file by that of another node.
func otherKey(t *testing.T, path string) {
	t.Helper()
	other := startGrantd(t)
	b, err := os.ReadFile(filepath.Join(other.dir, "data", "kek.json"))
	mustDo(t, err)
	mustDo(t, os.WriteFile(path, b, 0o600))
}

func secret(s string) credential.Secret { return credential.NewSecret(s) }

// eventually tries until it succeeds, for a while.
func (g *grantd) eventually(try func() error) {
	g.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			g.t.Fatalf("still failing after 30 s: %v", err)
		}
	}
}

func tokenURL(u string) map[string]json.RawMessage {
	return map[string]json.RawMessage{"token_url": wire.AppendString(nil, u)}
}

func TestProviderThatMisbehavesCostsNoGrant(t *testing.T) {
	provider, base := stricttest.Serve(t, strict.Options{})
	g := startGrantd(t, "GRANTD_REFRESH_CALL_TIMEOUT=1s", "GRANTD_REFRESH_COMMIT_TIMEOUT=1s", "GRANTD_REFRESH_UNCERTAIN_HOLD=1s", "GRANTD_REFRESH_BACKOFF_MIN=10ms", "GRANTD_REFRESH_BACKOFF_MAX=50ms")
	static := strict.Client{ID: "static", Secret: secret("static-secret"), Rotation: strict.RotationStatic}
	mustDo(t, provider.PutClient(static))
	for id, client := range map[string]string{"rotating": "demo-basic", "static": "static"} {
		s := tokenURL(base + "/token")
		s["refresh_rotation"] = wire.AppendString(nil, id)
		g.must(http.MethodPut, "/v1/integrations/"+id, wire.NewIntegration{Provider: wire.ProviderCustom, ClientID: client, ClientSecret: wire.Secret(client + "-secret"), Settings: s}, nil)
	}
	for _, tc := range []struct {
		fault strict.Fault
		code  wire.Code // of the caller's error; empty: the refresh succeeds
		on    string
	}{
		{strict.Fault{Kind: strict.FaultStatus500}, wire.CodeProviderUnavailable, "rotating"},
		{strict.Fault{Kind: strict.FaultStatus503, RetryAfter: time.Second}, wire.CodeProviderUnavailable, "rotating"},
		{strict.Fault{Kind: strict.FaultStatus429, RetryAfter: time.Second}, wire.CodeProviderUnavailable, "rotating"},
		{strict.Fault{Kind: strict.FaultHTML, Status: 403}, wire.CodeProviderUnavailable, "rotating"},
		{strict.Fault{Kind: strict.FaultUnrecognised}, wire.CodeProviderUnavailable, "rotating"},
		{strict.Fault{Kind: strict.FaultRedirect, Location: "http://169.254.169.254/token"}, wire.CodeMisconfigured, "rotating"},
		{strict.Fault{Kind: strict.FaultInvalidClient}, wire.CodeMisconfigured, "rotating"},
		{strict.Fault{Kind: strict.FaultDropRequest}, wire.CodeProviderUnavailable, "static"},
		{strict.Fault{Kind: strict.FaultDropAnswer}, wire.CodeProviderUnavailable, "static"},
		{strict.Fault{Kind: strict.FaultEndless}, wire.CodeProviderUnavailable, "static"},
		{strict.Fault{Kind: strict.FaultEmpty}, wire.CodeProviderUnavailable, "static"},
		{strict.Fault{Kind: strict.FaultTruncated}, wire.CodeProviderUnavailable, "static"},
		{strict.Fault{Kind: strict.FaultNoExpiresIn}, "", "rotating"},
		{strict.Fault{Kind: strict.FaultStringExpiresIn}, "", "rotating"},
		{strict.Fault{Kind: strict.FaultHugeToken, Size: 48 << 10}, "", "rotating"},
		{strict.Fault{Kind: strict.FaultNoRefreshToken}, "", "static"},
	} {
		t.Run(string(tc.fault.Kind), func(t *testing.T) {
			client := map[string]string{"rotating": "demo-basic", "static": "static"}[tc.on]
			grant, err := provider.NewGrant(client, "ada", nil)
			mustDo(t, err)
			id := strings.ReplaceAll(string(tc.fault.Kind), "_", "-")
			path := "/v1/accounts/acme/" + id
			seconds := int64(grant.ExpiresIn / time.Second)
			g.must(http.MethodPost, "/v1/accounts", wire.NewAccount{Tenant: "acme", ID: id, Integration: tc.on, Credentials: wire.Credentials{
				Type: wire.TypeOAuth2, AccessToken: wire.Secret(grant.AccessToken.Reveal()), RefreshToken: wire.Secret(grant.RefreshToken.Reveal()), ExpiresIn: &seconds,
			}}, nil)
			tc.fault.Count = 1
			_, err = provider.AddFault(tc.fault)
			mustDo(t, err)
			var problem refusal
			err = g.call(t.Context(), http.MethodPost, path+"/refresh", struct{}{}, nil)
			switch {
			case tc.code == "" && err != nil:
				t.Errorf("refresh: %v", err)
			case tc.code != "" && (!errors.As(err, &problem) || problem.problem.Code != tc.code):
				t.Errorf("refresh: %v, want code %s", err, tc.code)
			}
			if err != nil { // the old token serves on
				var tok wire.Token
				g.must(http.MethodGet, path+"/token", nil, &tok)
				if tok.AccessToken.Reveal() != grant.AccessToken.Reveal() {
					t.Error("the old token is not handed out while refreshing fails")
				}
			}
			if tc.code == wire.CodeMisconfigured { // an operator mends it
				s := tokenURL(base + "/token")
				s["refresh_rotation"] = wire.AppendString(nil, tc.on)
				g.must(http.MethodPut, "/v1/integrations/"+tc.on, wire.NewIntegration{Provider: wire.ProviderCustom, ClientID: client, Settings: s}, nil)
			}
			g.eventually(func() error {
				if err := g.call(t.Context(), http.MethodPost, path+"/refresh", struct{}{}, nil); err != nil {
					return err
				}
				var tok wire.Token
				g.must(http.MethodGet, path+"/token", nil, &tok)
				if !provider.TokenLive(secret(tok.AccessToken.Reveal())) {
					return errors.New("the token is dead at the provider")
				}
				return nil
			})
		})
	}
	for _, v := range provider.Judge() {
		t.Errorf("the provider saw %+v", v)
	}
}

func TestFullDiskLosesNothingThatWasAcknowledged(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("a disk that can be filled needs the right to mount one: %v", err)
	}
	t.Cleanup(func() { mustDo(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	g := startGrantd(t, "GRANTD_NODE_DATA_DIR="+disk)
	g.must(http.MethodPut, "/v1/integrations/keys", wire.NewIntegration{Provider: wire.ProviderCustom, ClientID: "x", Settings: tokenURL("https://idp.example.com/token")}, nil)
	filler := filepath.Join(disk, "filler")
	var acknowledged []string
	padding := strings.Repeat("k", 32<<10)
	deadline := time.Now().Add(time.Minute)
	for i := 0; ; i++ {
		if time.Now().After(deadline) {
			t.Fatal("the disk did not fill up within a minute")
		}
		id := fmt.Sprintf("a%05d", i)
		err := g.call(t.Context(), http.MethodPost, "/v1/accounts", wire.NewAccount{Tenant: "acme", ID: id, Integration: "keys", Credentials: wire.Credentials{Type: wire.TypeAPIKey, APIKey: wire.Secret(id + padding)}}, nil)
		if err != nil {
			break
		}
		if acknowledged = append(acknowledged, id); i == 20 {
			mustDo(t, fill(filler))
		}
	}
	<-g.proc.Ended()
	if out := g.proc.Output(); !strings.Contains(out, "disk full") {
		t.Errorf("the process ended without saying that the disk is full:\n%s", out)
	}
	mustDo(t, os.Remove(filler))
	g.http.CloseIdleConnections()
	g.start()
	for _, id := range acknowledged {
		var tok wire.Token
		g.must(http.MethodGet, "/v1/accounts/acme/"+id+"/token", nil, &tok)
		if tok.APIKey.Reveal() != id+padding {
			t.Errorf("%s: its key is not what was acknowledged", id)
		}
	}
	t.Logf("%d accounts acknowledged before the disk was full", len(acknowledged))
}

// fill writes until the disk is full, but for a little.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := make([]byte, 256<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(info.Size()-(1<<20)), f.Close())
}
