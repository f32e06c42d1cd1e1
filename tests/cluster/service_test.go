package cluster

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
	"github.com/grantd/grantd/wire/rpcpb"
)

// newKey makes an API key, which must not stand in any log.
func (c *cluster) newKey(k wire.NewKey) wire.Secret {
	c.t.Helper()
	made, err := c.running()[0].api().CreateKey(c.t.Context(), k)
	must(c.t, err)
	c.secrets = append(c.secrets, made.Secret.Reveal())
	return made.Secret
}

func toRef(tenant, id string) *rpcpb.Ref { return &rpcpb.Ref{Tenant: tenant, Id: id} }

func tokenOf(ref *rpcpb.Ref) *rpcpb.Request {
	return &rpcpb.Request{Kind: &rpcpb.Request_Token{Token: &rpcpb.TokenRequest{Ref: ref, MinTtlMs: 1000}}}
}

// TestServiceBesideTheClusterGetsWhatItsKeyMay: by the actor RPC, with a
// client's certificate and an API key, at any node.
func TestServiceBesideTheClusterGetsWhatItsKeyMay(t *testing.T) {
	t.Parallel()
	c := up(t, "n1", "n2", "n3")
	c.register()
	accounts := c.connect("acme", 6)
	c.connect("umbrella", 1)
	c.makeCerts(c.certs, "client", "billing")
	c.makeCerts(c.path("foreign"), "client", "billing")
	key := c.newKey(wire.NewKey{Tenant: "acme", Integrations: []string{integration}, Permissions: []string{wire.PermTokensRead}})
	elsewhere := c.newKey(wire.NewKey{Tenant: "acme", Integrations: []string{"other"}, Permissions: []string{wire.PermTokensRead, wire.PermAccountsRead}})
	writer := c.newKey(wire.NewKey{Tenant: "acme", Permissions: []string{wire.PermAccountsWrite, wire.PermAccountsRead}})

	for _, n := range c.nodes {
		service := n.actors(t, papers{c.certs, "client-billing"})
		as := func(key wire.Secret, req *rpcpb.Request) (*rpcpb.Response, error) {
			req.ApiKey = []byte(key.Reveal())
			return ask(service, req)
		}
		for _, a := range accounts { // whoever owns it
			ref, err := credential.ParseRef(a.name)
			must(t, err)
			m, err := as(key, tokenOf(toRef(ref.Tenant, ref.ID)))
			if err != nil || c.grantOf(wire.Token{AccessToken: wire.Secret(m.GetToken().GetSecret())}) != a.grant {
				t.Errorf("%s: token of %s: %v", n.name, a.name, err)
				continue
			}
			before := m.GetToken().GetGeneration()
			m, err = as(key, &rpcpb.Request{Kind: &rpcpb.Request_Refresh{Refresh: &rpcpb.RefreshRequest{Ref: toRef(ref.Tenant, ref.ID), Stale: &before}}})
			if err != nil || m.GetAccount().GetGeneration() <= before {
				t.Errorf("%s: refresh of %s: %v", n.name, a.name, err)
			}
		}
		list := &rpcpb.Request{Kind: &rpcpb.Request_List{List: &rpcpb.ListRequest{Limit: 10}}}
		if m, err := as(writer, list); err != nil || len(m.GetPage().GetAccounts()) != len(accounts) {
			t.Errorf("%s: a list has %d accounts: %v", n.name, len(m.GetPage().GetAccounts()), err)
		}
		a0 := toRef("acme", "a0")
		for what, tc := range map[string]struct {
			key  wire.Secret
			req  *rpcpb.Request
			code rpcpb.Code
		}{
			"no key":                     {"", tokenOf(a0), rpcpb.Code_CODE_UNAUTHENTICATED},
			"a key that nobody made":     {"gk_nobody-has-made-this-key-at-all-000000000", tokenOf(a0), rpcpb.Code_CODE_UNAUTHENTICATED},
			"another tenant's account":   {key, tokenOf(toRef("umbrella", "a0")), rpcpb.Code_CODE_NOT_FOUND},
			"one that is not there":      {key, tokenOf(toRef("umbrella", "a7")), rpcpb.Code_CODE_NOT_FOUND},
			"another integration's":      {elsewhere, tokenOf(a0), rpcpb.Code_CODE_NOT_FOUND},
			"a token, without the right": {writer, tokenOf(a0), rpcpb.Code_CODE_FORBIDDEN},
			"to disconnect, without":     {key, &rpcpb.Request{Kind: &rpcpb.Request_Disconnect{Disconnect: a0}}, rpcpb.Code_CODE_FORBIDDEN},
			"to read, without":           {key, &rpcpb.Request{Kind: &rpcpb.Request_Account{Account: a0}}, rpcpb.Code_CODE_FORBIDDEN},
			"a history, without":         {key, &rpcpb.Request{Kind: &rpcpb.Request_History{History: &rpcpb.HistoryRequest{Ref: a0, Limit: 1}}}, rpcpb.Code_CODE_FORBIDDEN},
			"to import, without":         {key, &rpcpb.Request{Kind: &rpcpb.Request_Import{Import: &rpcpb.ImportRequest{Ref: a0, Integration: integration}}}, rpcpb.Code_CODE_FORBIDDEN},
			"to list, without":           {key, &rpcpb.Request{Kind: &rpcpb.Request_List{List: &rpcpb.ListRequest{Limit: 1}}}, rpcpb.Code_CODE_FORBIDDEN},
			"a name that cannot be":      {key, tokenOf(toRef("acme", "a b")), rpcpb.Code_CODE_BAD_NAME},
			"a replica's copy":           {key, &rpcpb.Request{Kind: &rpcpb.Request_ReplicaToken{ReplicaToken: &rpcpb.TokenRequest{Ref: a0}}}, rpcpb.Code_CODE_FORBIDDEN},
			"a shard":                    {key, &rpcpb.Request{Kind: &rpcpb.Request_ShardPage{ShardPage: &rpcpb.ShardPageRequest{}}}, rpcpb.Code_CODE_FORBIDDEN},
			"a fate":                     {key, &rpcpb.Request{Kind: &rpcpb.Request_Fate{Fate: &rpcpb.FateRequest{Ref: a0}}}, rpcpb.Code_CODE_FORBIDDEN},
			"to offer an answer":         {key, &rpcpb.Request{Kind: &rpcpb.Request_Offer{Offer: &rpcpb.OfferRequest{Ref: a0}}}, rpcpb.Code_CODE_FORBIDDEN},
			"to write a record":          {key, &rpcpb.Request{Kind: &rpcpb.Request_KvPut{KvPut: &rpcpb.PutRequest{Key: "node/n1"}}}, rpcpb.Code_CODE_FORBIDDEN},
			"to delete one":              {key, &rpcpb.Request{Kind: &rpcpb.Request_KvDelete{KvDelete: &rpcpb.DeleteRequest{Key: "node/n1"}}}, rpcpb.Code_CODE_FORBIDDEN},
			"to join":                    {key, &rpcpb.Request{Kind: &rpcpb.Request_Join{Join: &rpcpb.JoinRequest{}}}, rpcpb.Code_CODE_FORBIDDEN},
			"to found":                   {key, &rpcpb.Request{Kind: &rpcpb.Request_Promise{Promise: &rpcpb.PromiseRequest{}}}, rpcpb.Code_CODE_FORBIDDEN},
			"the state":                  {key, &rpcpb.Request{Kind: &rpcpb.Request_Status{Status: &rpcpb.StatusRequest{}}}, rpcpb.Code_CODE_FORBIDDEN},
			"something newer":            {key, ofNewerVersion(), rpcpb.Code_CODE_UNIMPLEMENTED},
		} {
			if _, err := as(tc.key, tc.req); codeOf(err) != tc.code {
				t.Errorf("%s: %s: %v instead of %s", n.name, what, err, tc.code)
			}
		}
		stranger := n.actors(t, papers{c.path("foreign"), "client-billing"})
		req := tokenOf(a0)
		req.ApiKey = []byte(key.Reveal())
		if _, err := ask(stranger, req); err == nil || codeOf(err) != rpcpb.Code_CODE_UNSPECIFIED {
			t.Errorf("%s: a foreign certificate with a good key: %v", n.name, err)
		}
	}
}

// ofNewerVersion is a request of a kind that nobody knows yet.
func ofNewerVersion() *rpcpb.Request {
	r := &rpcpb.Request{}
	r.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 999, protowire.BytesType), []byte("new")))
	return r
}
