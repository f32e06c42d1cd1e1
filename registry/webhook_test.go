package registry_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
	"github.com/grantd/grantd/registry/registrytest"
)

func hook() registry.WebhookSpec {
	return registry.WebhookSpec{URL: "https://app.example.com/hooks", Events: []string{"*"}, Enabled: true}
}

// signs returns what an end point's messages are signed with.
func signs(t *testing.T, r *registry.Registry, name string) (all []string) {
	t.Helper()
	secrets, err := r.WebhookSecrets(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		all = append(all, s.Reveal())
	}
	return all
}

func TestAWebhookIsReadBackAndItsSecretIsSealed(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	changed := r.EndpointsChanged()
	w, created, err := r.PutWebhook(t.Context(), "crm", hook(), credential.NewSecret("whsec_first"), credential.Secret{})
	if err != nil || !created || w.Version != 1 || w.Since.IsZero() {
		t.Fatalf("%+v, %v, %v", w, created, err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	e, ok := r.Endpoint("crm")
	if !ok || e.URL != hook().URL || !e.Enabled || !e.Since.Equal(w.Since) || len(r.Endpoints()) != 1 || r.Endpoints()[0] != e {
		t.Errorf("end point %+v of %v", e, r.Endpoints())
	}
	if got := signs(t, r, "crm"); !slices.Equal(got, []string{"whsec_first"}) {
		t.Errorf("signed with %v", got)
	}
	err = kv.Scan("webhook/", func(key string, value []byte, _ uint64) error {
		if strings.Contains(string(value), "whsec") {
			t.Errorf("%s holds the secret in plaintext", key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	spec := hook()
	spec.URL = "https://app.example.com/other"
	if w, created, err = r.PutWebhook(t.Context(), "crm", spec, credential.Secret{}, credential.Secret{}); err != nil || created || w.Version != 2 {
		t.Errorf("%+v, %v, %v", w, created, err)
	}
	again, _ := r.Endpoint("crm")
	if got := signs(t, r, "crm"); !slices.Equal(got, []string{"whsec_first"}) || again.Incarnation != e.Incarnation || !again.Since.Equal(e.Since) || again.Revision <= e.Revision {
		t.Errorf("after the edit it signs with %v and is %+v", got, again)
	}
	if r.WebhookGone("crm") {
		t.Error("it is gone")
	}
	if err := r.DeleteWebhook(t.Context(), "", "crm"); err != nil || !r.WebhookGone("crm") || len(r.Endpoints()) != 0 {
		t.Errorf("deleted: %v", err)
	}
	if err := r.DeleteWebhook(t.Context(), "", "crm"); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, _, err = r.PutWebhook(t.Context(), "crm", hook(), credential.NewSecret("whsec_new"), credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	if anew, _ := r.Endpoint("crm"); anew.Incarnation == e.Incarnation {
		t.Error("made anew, it is taken for the old one")
	}
}

func TestWebhooksOfTenantsDoNotMeet(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	for _, tenant := range []string{"", "acme", "globex"} {
		spec := hook()
		spec.Tenant = tenant
		if _, created, err := r.PutWebhook(t.Context(), "crm", spec, credential.NewSecret("whsec_"+tenant), credential.Secret{}); err != nil || !created {
			t.Fatal(created, err)
		}
	}
	if len(r.Webhooks()) != 3 {
		t.Errorf("%d webhooks", len(r.Webhooks()))
	}
	for _, tenant := range []string{"", "acme", "globex"} {
		w, ok := r.Webhook(tenant, "crm")
		if !ok || w.Tenant != tenant || w.ID != "crm" || signs(t, r, w.Name())[0] != "whsec_"+tenant {
			t.Errorf("of %q: %+v", tenant, w)
		}
		if e, _ := r.Endpoint(w.Name()); e.Wants(&credential.Event{Type: credential.EventCreated, Ref: credential.Ref{Tenant: "globex", ID: "a"}}) != (tenant != "acme") {
			t.Errorf("of %q: it gets what it should not, or does not get what it should", tenant)
		}
	}
}

func TestARotatedSecretSignsUntilTheOverlapEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &registrytest.KV{}, nil)
		defer r.Close()
		ctx := t.Context()
		rotate := func(to string, overlap time.Duration) error {
			_, err := r.RotateWebhook(ctx, "", "crm", credential.NewSecret(to), overlap)
			return err
		}
		if err := rotate("x", 0); !errors.Is(err, credential.ErrNotFound) {
			t.Errorf("of one that is not there: %v", err)
		}
		if _, _, err := r.PutWebhook(ctx, "crm", hook(), credential.NewSecret("a"), credential.Secret{}); err != nil {
			t.Fatal(err)
		}
		steps := []struct {
			to      string
			overlap time.Duration
			want    []string
		}{
			{"b", 24 * time.Hour, []string{"b", "a"}}, {"c", time.Hour, []string{"c", "b", "a"}}, {"d", time.Hour, []string{"d", "c", "b", "a"}},
		}
		for _, s := range steps {
			if err := rotate(s.to, s.overlap); err != nil {
				t.Fatal(err)
			}
			if got := signs(t, r, "crm"); !slices.Equal(got, s.want) {
				t.Errorf("after %s: %v", s.to, got)
			}
		}
		if err := rotate("e", time.Hour); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("a fourth old secret: %v", err)
		}
		<-time.After(2 * time.Hour)
		w, _ := r.Webhook("", "crm")
		if got := signs(t, r, "crm"); !slices.Equal(got, []string{"d", "a"}) || len(w.Overlaps(time.Now())) != 1 {
			t.Errorf("after two hours: %v", got)
		}
		if err := rotate("f", 0); err != nil {
			t.Fatal(err)
		}
		if got := signs(t, r, "crm"); !slices.Equal(got, []string{"f"}) {
			t.Errorf("after a rotation without an overlap: %v", got)
		}
		if err := rotate("g", -1); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("a negative overlap: %v", err)
		}
	})
}

func TestDisablingLosesAgainstAnEdit(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	ctx := t.Context()
	put := func(change func(*registry.WebhookSpec)) *registry.Webhook {
		spec := hook()
		if change != nil {
			change(&spec)
		}
		w, _, err := r.PutWebhook(ctx, "crm", spec, credential.NewSecret("s"), credential.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first := put(nil)
	old, _ := r.Endpoint("crm")
	put(nil)
	if err := r.DisableWebhook(ctx, "crm", old.Revision, "gone"); err != nil {
		t.Fatal(err)
	}
	if w, _ := r.Webhook("", "crm"); !w.Enabled {
		t.Error("an edit in between was overruled")
	}
	now, _ := r.Endpoint("crm")
	if err := r.DisableWebhook(ctx, "crm", now.Revision, "gone"); err != nil {
		t.Fatal(err)
	}
	if w, _ := r.Webhook("", "crm"); w.Enabled || w.Reason != "gone" || !w.Since.Equal(first.Since) {
		t.Errorf("%+v", w)
	}
	if w := put(nil); !w.Enabled || w.Reason != "" || !w.Since.After(first.Since) {
		t.Errorf("enabled again: %+v", w)
	}
}

func TestWhoWantsRefreshesIsKnown(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	ref := credential.Ref{Tenant: "acme", ID: "a"}
	put := func(events []string, enabled bool) {
		t.Helper()
		spec := hook()
		spec.Events, spec.Enabled, spec.Integrations = events, enabled, []string{"crm"}
		if _, _, err := r.PutWebhook(t.Context(), "x", spec, credential.NewSecret("s"), credential.Secret{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		events  []string
		enabled bool
		want    bool
	}{{[]string{"*"}, true, false}, {[]string{"*", string(credential.EventRefreshed)}, true, true}, {[]string{string(credential.EventRefreshed)}, false, false}} {
		put(c.events, c.enabled)
		if r.TellsRefreshes(ref, "crm") != c.want || r.TellsRefreshes(ref, "erp") {
			t.Errorf("%d: %v", i, !c.want)
		}
	}
}

func TestWebhooksThatCannotBeAreRefused(t *testing.T) {
	r := open(t, &registrytest.KV{}, nil)
	for name, change := range map[string]func(*registry.WebhookSpec){
		"no URL": func(s *registry.WebhookSpec) { s.URL = "" }, "no host": func(s *registry.WebhookSpec) { s.URL = "https:///x" },
		"a password": func(s *registry.WebhookSpec) { s.URL = "https://a:b@example.com" }, "a scheme": func(s *registry.WebhookSpec) { s.URL = "file:///etc/passwd" },
		"a fragment": func(s *registry.WebhookSpec) { s.URL = "https://example.com/#x" }, "long": func(s *registry.WebhookSpec) { s.URL = "https://example.com/" + strings.Repeat("x", 3000) },
		"no events": func(s *registry.WebhookSpec) { s.Events = nil }, "odd events": func(s *registry.WebhookSpec) { s.Events = []string{"x"} },
		"events twice": func(s *registry.WebhookSpec) { s.Events = []string{"*", "*"} }, "odd tenant": func(s *registry.WebhookSpec) { s.Tenant = "*" },
		"odd integration": func(s *registry.WebhookSpec) { s.Integrations = []string{""} },
	} {
		spec := hook()
		change(&spec)
		if _, _, err := r.PutWebhook(t.Context(), "x", spec, credential.NewSecret("s"), credential.Secret{}); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.PutWebhook(t.Context(), "a/b", hook(), credential.NewSecret("s"), credential.Secret{}); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("an odd id: %v", err)
	}
	if _, _, err := r.PutWebhook(t.Context(), "x", hook(), credential.Secret{}, credential.Secret{}); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("without a secret: %v", err)
	}
	if len(r.Webhooks()) != 0 {
		t.Errorf("left behind: %v", r.Webhooks())
	}
}

func TestFieldsOfANewerVersionOfAWebhookStay(t *testing.T) {
	kv := &registrytest.KV{}
	r := open(t, kv, nil)
	if _, _, err := r.PutWebhook(t.Context(), "x", hook(), credential.NewSecret("s"), credential.Secret{}); err != nil {
		t.Fatal(err)
	}
	value, rev, err := kv.Get("webhook/x")
	if err != nil {
		t.Fatal(err)
	}
	value = append(value[:len(value)-1], `,"new":1}`...)
	if _, err := kv.Put(t.Context(), "webhook/x", rev, value); err != nil {
		t.Fatal(err)
	}
	if _, err := r.RotateWebhook(t.Context(), "", "x", credential.NewSecret("t"), 0); err != nil {
		t.Fatal(err)
	}
	value, _, err = kv.Get("webhook/x")
	var fields map[string]json.RawMessage
	if err := errors.Join(err, json.Unmarshal(value, &fields)); err != nil || string(fields["new"]) != "1" {
		t.Errorf("%s, %v", value, err)
	}
}
