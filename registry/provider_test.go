package registry_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

func fields(pairs ...string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return m
}

func TestAProviderOfTheAPICountsBeforeTheCataloguesEverywhere(t *testing.T) {
	kv := &registrytest.KV{}
	var mu sync.Mutex
	changed := 0
	seen := make(chan struct{}, 100)
	writer := open(t, kv, nil)
	reader := open(t, kv, func(id string) {
		mu.Lock()
		defer mu.Unlock()
		if id == "crm" {
			changed++
			seen <- struct{}{}
		}
	})
	ctx := t.Context()
	s := registry.IntegrationSpec{Provider: "slack", ClientID: "c", Overrides: fields("pkce", `"required"`)}
	if _, _, err := writer.PutIntegration(ctx, "crm", s, credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	<-seen
	p, created, err := writer.PutProvider(ctx, "slack", fields("extends", `"slack"`, "terminal_errors", `["gone"]`))
	if err != nil || !created || p.Origin != catalog.API {
		t.Fatalf("%+v, %v, %v", p, created, err)
	}
	<-seen // the integration is told of, on another node
	for name, r := range map[string]*registry.Registry{"the writer": writer, "another node": reader, "a node that starts": open(t, kv, nil)} {
		in, _ := r.Integration("crm")
		if !slices.Equal(in.Facts.TerminalErrors, []string{"gone"}) || in.Facts.PKCE != catalog.PKCERequired || in.Facts.TokenURL == "" || in.Version != 1 || in.Broken {
			t.Errorf("%s: %+v", name, in.Facts)
		}
		if got, ok := r.Provider("slack"); !ok || got.Origin != catalog.API {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, created, err := writer.PutProvider(ctx, "slack", fields("extends", `"slack"`, "terminal_errors", `["gone", "away"]`)); err != nil || created {
		t.Errorf("again: %v, %v", created, err)
	}
	if err := writer.DeleteProvider(ctx, "slack"); err != nil {
		t.Fatal(err)
	}
	if in, _ := writer.Integration("crm"); slices.Contains(in.Facts.TerminalErrors, "gone") || in.Facts.Origin != catalog.Builtin {
		t.Errorf("after the end of it: %+v", in.Facts)
	}
	if err := writer.DeleteProvider(ctx, "slack"); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("what is built in was deleted: %v", err)
	}
}

func TestAProviderIsNotChangedWhereAnIntegrationCouldNotGoByIt(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	ctx := t.Context()
	if _, _, err := r.PutProvider(ctx, "own", fields("name", `"Own"`, "token_url", `"https://{shop}.own.example/token"`, "url_variables", `{"shop":""}`)); err != nil {
		t.Fatal(err)
	}
	s := registry.IntegrationSpec{Provider: "own", ClientID: "c", Overrides: fields("url_variables", `{"shop":"acme"}`)}
	if _, _, err := r.PutIntegration(ctx, "crm", s, credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	for name, next := range map[string]map[string]json.RawMessage{
		"a pattern that its variable does not fit": fields("name", `"Own"`, "token_url", `"https://{shop}.own.example/token"`, "url_variables", `{"shop":""}`, "url_variable_patterns", `{"shop":"[0-9]+"}`),
		"rubbish":           fields("name", `"Own"`, "token_url", `"http://own.example/token"`),
		"nobody to extend":  fields("extends", `"nobody"`),
		"an unknown field":  fields("name", `"Own"`, "token_url", `"https://own.example/token"`, "colour", `"red"`),
		"more than fits in": fields("name", `"`+strings.Repeat("x", 70_000)+`"`, "token_url", `"https://own.example/token"`),
	} {
		if _, _, err := r.PutProvider(ctx, "own", next); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.DeleteProvider(ctx, "own"); !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "crm") {
		t.Errorf("the only one of its name was deleted: %v", err)
	}
	if in, _ := r.Integration("crm"); in.Broken || in.Facts.TokenURL != "https://{shop}.own.example/token" {
		t.Errorf("%+v", in)
	}
	if err := r.DeleteIntegration(ctx, "crm"); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteProvider(ctx, "own"); err != nil {
		t.Error(err)
	}
	if _, ok := r.Provider("own"); ok {
		t.Error("it is still there")
	}
}

// A folder that lacks what the entry extends, or an older build, must not take
// a node down: what is below counts.
func TestAProviderThatThisNodeCannotUseLeavesTheOneBelow(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	ctx := t.Context()
	if _, err := kv.Put(ctx, "provider/slack", 0, []byte(`{"fields":{"extends":"of-another-folder"}}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "provider/nothing", 0, []byte(`{"fields":{"field_of_a_later_build":1}}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.PutIntegration(ctx, "crm", registry.IntegrationSpec{Provider: "slack", ClientID: "c"}, credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	if in, _ := r.Integration("crm"); in.Broken || in.Facts.Origin != catalog.Builtin {
		t.Errorf("%+v", in)
	}
	if _, ok := r.Provider("nothing"); ok {
		t.Error("an entry that cannot be read is there")
	}
	for _, p := range r.Providers() {
		if p.ID == "nothing" || p.ID == "slack" && p.Origin != catalog.Builtin {
			t.Errorf("in the list: %+v", p)
		}
	}
}
