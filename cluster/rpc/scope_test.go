package rpc_test

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grantd/grantd/cluster/rpc"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/rpcpb"
)

// The requests of a service, about the account of a name.
var about = map[string]func(ref *rpcpb.Ref) *rpcpb.Request{
	"token": func(ref *rpcpb.Ref) *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_Token{Token: &rpcpb.TokenRequest{Ref: ref}}}
	},
	"refresh": func(ref *rpcpb.Ref) *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_Refresh{Refresh: &rpcpb.RefreshRequest{Ref: ref}}}
	},
	"disconnect": func(ref *rpcpb.Ref) *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_Disconnect{Disconnect: ref}}
	},
	"account": func(ref *rpcpb.Ref) *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_Account{Account: ref}}
	},
	"history": func(ref *rpcpb.Ref) *rpcpb.Request {
		return &rpcpb.Request{Kind: &rpcpb.Request_History{History: &rpcpb.HistoryRequest{Ref: ref, Limit: 10}}}
	},
}

func importOf(tenant, integration string) *rpcpb.Request {
	return &rpcpb.Request{Kind: &rpcpb.Request_Import{Import: &rpcpb.ImportRequest{
		Ref: &rpcpb.Ref{Tenant: tenant, Id: "new"}, Integration: integration, Kind: "oauth2", RefreshToken: []byte(canary),
	}}}
}

// answer is what a service with a key is told, with the id taken out.
func (r *rig) answer(t *testing.T, apiKey string, req *rpcpb.Request) *rpcpb.Response {
	t.Helper()
	m, err := r.raw.Do(t.Context(), request(apiKey, req))
	if err != nil {
		t.Fatal(err)
	}
	m.Id = 0
	return m
}

func TestOutOfScopeHasTheBytesOfAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleClient, w.services())
		for name, build := range about {
			absent := r.answer(t, "github", build(&rpcpb.Ref{Tenant: "acme", Id: "none"}))
			if absent.GetError().GetCode() != rpcpb.Code_CODE_NOT_FOUND {
				t.Errorf("%s of none: %v", name, absent.GetError().GetCode())
			}
			for hidden, ref := range map[string]*rpcpb.Ref{"another tenant": {Tenant: "globex", Id: "gh"}, "another integration": {Tenant: "acme", Id: "sl"}} {
				if m := r.answer(t, "github", build(ref)); !proto.Equal(m, absent) {
					t.Errorf("%s of %s: code %v", name, hidden, m.GetError().GetCode())
				}
				if m := r.answer(t, "admin", build(ref)); m.GetError() != nil {
					t.Errorf("%s of %s, for who may see it: %v", name, hidden, m.GetError().GetCode())
				}
			}
			if m := r.answer(t, "github", build(&rpcpb.Ref{Tenant: "acme", Id: "crm"})); m.GetError() != nil {
				t.Errorf("%s within the scope: %v", name, m.GetError().GetCode())
			}
		}
		absent := r.answer(t, "github", importOf("acme", "none"))
		for name, req := range map[string]*rpcpb.Request{"another tenant": importOf("globex", "github"), "another integration": importOf("acme", "slack")} {
			if m := r.answer(t, "github", req); !proto.Equal(m, absent) || m.GetError().GetCode() != rpcpb.Code_CODE_NOT_FOUND {
				t.Errorf("import into %s: code %v", name, m.GetError().GetCode())
			}
		}
		if m := r.answer(t, "github", importOf("acme", "github")); m.GetImported() == nil {
			t.Errorf("import within the scope: %v", m.GetError().GetCode())
		}
		if strings.Contains(r.log.String(), canary) {
			t.Error("a secret was logged")
		}
	})
}

// TestAgentGetsATokenOnlyOnceThatIsNoted: and only of the accounts that its key
// is limited to.
func TestAgentGetsATokenOnlyOnceThatIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleClient, w.services())
		seen := &rpcpb.Ref{Tenant: "acme", Id: "crm"}
		if m := r.answer(t, "agent", about["token"](seen)); m.GetToken() == nil {
			t.Errorf("the agent's token: %v", m.GetError().GetCode())
		}
		if want := []any{crm, credential.Handout{Agent: "bot", Key: "k1", Generation: sample().Generation}}; !reflect.DeepEqual(w.got[len(w.got)-2:], want) {
			t.Errorf("asked was %v, want at the end %v", w.got, want)
		}
		w.noteErr = credential.ErrNoQuorum
		if m := r.answer(t, "agent", about["token"](seen)); m.GetError().GetCode() != rpcpb.Code_CODE_NO_QUORUM || m.GetToken() != nil {
			t.Errorf("a token that could not be noted: %v", m.GetError().GetCode())
		}
		for name, build := range about {
			if m := r.answer(t, "agent", build(&rpcpb.Ref{Tenant: "acme", Id: "sl"})); m.GetError().GetCode() != rpcpb.Code_CODE_NOT_FOUND {
				t.Errorf("%s of another account: %v", name, m.GetError().GetCode())
			}
		}
		if m := r.answer(t, "agent", importOf("acme", "github")); m.GetError().GetCode() != rpcpb.Code_CODE_NOT_FOUND {
			t.Errorf("import of another account: %v", m.GetError().GetCode())
		}
	})
}

func TestListsShowWhatTheKeySees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleClient, w.services())
		for _, c := range []struct {
			key  string
			list *rpcpb.ListRequest
			want int
		}{
			{"admin", &rpcpb.ListRequest{Limit: 10}, 3},
			{"acme", &rpcpb.ListRequest{Limit: 10}, 2},
			{"acme", &rpcpb.ListRequest{Limit: 10, Tenant: "globex"}, 0},
			{"github", &rpcpb.ListRequest{Limit: 10}, 1},
			{"agent", &rpcpb.ListRequest{Limit: 10}, 1},
			{"agent", &rpcpb.ListRequest{Limit: 10, Integration: "slack"}, 0},
			{"github", &rpcpb.ListRequest{Limit: 10, Integration: "slack"}, 0},
			{"github", &rpcpb.ListRequest{Limit: 10, Integration: "github"}, 1},
		} {
			m := r.answer(t, c.key, &rpcpb.Request{Kind: &rpcpb.Request_List{List: c.list}})
			if got := len(m.GetPage().GetAccounts()); got != c.want || m.GetPage() == nil {
				t.Errorf("%s with tenant %q and integration %q: %d accounts, %v", c.key, c.list.Tenant, c.list.Integration, got, m.GetError().GetCode())
			}
		}
	})
}

func TestPermissionsAreNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleClient, w.services())
		crm := &rpcpb.Ref{Tenant: "acme", Id: "crm"}
		for name, build := range about {
			want := rpcpb.Code_CODE_FORBIDDEN
			if name == "account" || name == "history" {
				want = rpcpb.Code_CODE_UNSPECIFIED // the reader's permission
			}
			if m := r.answer(t, "reader", build(crm)); m.GetError().GetCode() != want {
				t.Errorf("%s: %v", name, m.GetError().GetCode())
			}
			for _, nobody := range []string{"", "guess", "admin "} {
				if m := r.answer(t, nobody, build(crm)); m.GetError().GetCode() != rpcpb.Code_CODE_UNAUTHENTICATED {
					t.Errorf("%s with the key %q: %v", name, nobody, m.GetError().GetCode())
				}
			}
		}
		if m := r.answer(t, "reader", importOf("acme", "github")); m.GetError().GetCode() != rpcpb.Code_CODE_FORBIDDEN {
			t.Errorf("import: %v", m.GetError().GetCode())
		}
	})
}

func TestServicesMayNotAskWhatIsForNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleClient, w.services())
		n := 0
		kinds := (&rpcpb.Request{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
		for i := range kinds.Len() {
			field := kinds.Get(i)
			if field.Number() < 32 {
				continue
			}
			n++
			req := &rpcpb.Request{}
			req.ProtoReflect().Mutable(field)
			if m := r.answer(t, "admin", req); m.GetError().GetCode() != rpcpb.Code_CODE_FORBIDDEN {
				t.Errorf("%s: %v", field.Name(), m.GetError().GetCode())
			}
		}
		if n < 10 || w.got != nil {
			t.Errorf("%d kinds were tried, and asked %v", n, w.got)
		}
	})
}

func TestCredentialsOfServicesAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleClient, w.services())
		secret := []byte("x")
		soon, past := timestamppb.New(time.Now().Add(time.Hour)), timestamppb.New(time.Now().Add(-time.Hour))
		for name, c := range map[string]struct {
			in *rpcpb.ImportRequest
			ok bool
		}{
			"access and refresh token":    {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, RefreshToken: secret, ExpiresAt: soon, Scopes: []string{"a"}}, true},
			"expired, but refreshable":    {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, RefreshToken: secret, ExpiresAt: past}, true},
			"client credentials":          {&rpcpb.ImportRequest{Kind: "client_credentials", Scopes: []string{"a"}}, true},
			"an API key":                  {&rpcpb.ImportRequest{Kind: "api_key", Secret: secret}, true},
			"basic":                       {&rpcpb.ImportRequest{Kind: "basic", Secret: secret, Username: "u"}, true},
			"no kind":                     {&rpcpb.ImportRequest{Secret: secret}, false},
			"no token":                    {&rpcpb.ImportRequest{Kind: "oauth2"}, false},
			"expired":                     {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, ExpiresAt: past}, false},
			"expiry of nothing":           {&rpcpb.ImportRequest{Kind: "oauth2", RefreshToken: secret, ExpiresAt: soon}, false},
			"expiry out of this world":    {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, ExpiresAt: &timestamppb.Timestamp{Seconds: 1 << 60}}, false},
			"a secret of the integration": {&rpcpb.ImportRequest{Kind: "client_credentials", Secret: secret}, false},
			"an API key that refreshes":   {&rpcpb.ImportRequest{Kind: "api_key", Secret: secret, RefreshToken: secret}, false},
			"an API key with scopes":      {&rpcpb.ImportRequest{Kind: "api_key", Secret: secret, Scopes: []string{"a"}}, false},
			"basic without a user":        {&rpcpb.ImportRequest{Kind: "basic", Secret: secret}, false},
			"basic with a colon":          {&rpcpb.ImportRequest{Kind: "basic", Secret: secret, Username: "a:b"}, false},
			"a user of a token":           {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, Username: "a"}, false},
			"a line break":                {&rpcpb.ImportRequest{Kind: "api_key", Secret: []byte("x\n")}, false},
			"an empty scope":              {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, Scopes: []string{""}}, false},
			"variables and facts":         {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, Variables: map[string]string{"shop": "a"}, Facts: map[string]string{"realm_id": "7"}}, true},
			"a fact that cannot be":       {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, Facts: map[string]string{"realm id": "7"}}, false},
			"somebody's identity":         {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, Subject: []byte("x")}, false},
			"any identity":                {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, AllowOtherIdentity: true}, false},
			"a consent":                   {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, Reauthorise: true}, false},
			"a thousand scopes":           {&rpcpb.ImportRequest{Kind: "oauth2", Secret: secret, Scopes: make([]string, 1000)}, false},
		} {
			c.in.Ref, c.in.Integration = &rpcpb.Ref{Tenant: "acme", Id: "new"}, "github"
			m := r.answer(t, "acme", &rpcpb.Request{Kind: &rpcpb.Request_Import{Import: c.in}})
			if ok := m.GetImported() != nil; ok != c.ok || !ok && m.GetError().GetCode() != rpcpb.Code_CODE_INVALID {
				t.Errorf("%s: taken %v, %v", name, ok, m.GetError().GetText())
			}
		}
	})
}

func TestListsOfServicesAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := newRig(t, rpc.RoleClient, w.services())
		for name, l := range map[string]*rpcpb.ListRequest{
			"no limit":         {},
			"too many":         {Limit: 1001},
			"a strange state":  {Limit: 1, State: "dead"},
			"a bad tenant":     {Limit: 1, Tenant: "*"},
			"a bad place":      {Limit: 1, After: &rpcpb.Ref{Tenant: "/", Id: "x"}},
			"half of a place":  {Limit: 1, After: &rpcpb.Ref{Tenant: "x"}},
			"no integration ]": {Limit: 1, Integration: "]"},
		} {
			m := r.answer(t, "admin", &rpcpb.Request{Kind: &rpcpb.Request_List{List: l}})
			if code := m.GetError().GetCode(); code != rpcpb.Code_CODE_INVALID && code != rpcpb.Code_CODE_BAD_NAME {
				t.Errorf("%s: %v", name, code)
			}
		}
	})
}
