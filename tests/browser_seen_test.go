package tests

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// row is a row of a table: the text of its cells by column.
type row map[string]string

// dashboardView is what there is to see of the page as a whole.
type dashboardView struct {
	Status, Key, Text, Focus string
	Asks, Board              bool
	Notes                    map[string]string
	Nodes, Shards            []row
	Accounts                 []row
	Kept                     keptByBrowser
}

// historyView is the history of an account.
type historyView struct {
	Title, Focus string
	Lines        []row
	Notes        map[string]string
	Elements     int // in the cells, but for times
}

// keptByBrowser is what outlives the page's script.
type keptByBrowser struct {
	Session, Local map[string]string
	Databases      int
	Cookies        []any
	URL            string
	History        json.RawMessage
}

// dashboardSeen is what browser/dashboard.mjs saw and printed. Its methods say
// what it should have seen.
type dashboardSeen struct {
	Requests   []string
	Complaints []struct{ Step, Text, URL string }
	Pages      struct {
		Front struct {
			dashboardView
			Type, At string
		}
		WrongKey, ImpossibleKey, Offline, TenantKey dashboardView
		SignIn                                      struct {
			dashboardView
			Integrations []row
		}
		Shards struct {
			Closed bool
			Count  string
			Rows   []row
		}
		Lists struct {
			First, Second, Again []row
			Ends                 []bool
		}
		Filters   map[string][]row
		History   struct{ True, Spoilt historyView }
		Refreshes struct {
			Accounts      []row
			Focused, Open bool
		}
		SignOut struct {
			dashboardView
			Tenant      string
			AfterReload dashboardView
		}
	}
	Phone map[string]struct {
		Pixels   int
		Elements []string
	}
	Named  map[string][]struct{ Role, Name string }
	Faults map[string]struct {
		Ground string
		Found  []string
	}
	Walks map[string]struct {
		Count             int
		Unreached, Unseen []string
	}
}

func (s dashboardSeen) checkAsks(t *testing.T) {
	v := s.Pages.Front
	if !strings.HasSuffix(v.At, "/ui/") {
		t.Errorf("the front door leads to %s", v.At)
	}
	if !v.Asks || v.Board || v.Type != "password" || v.Status != "Not signed in" {
		t.Errorf("it asks %v by a field of type %q, shows the lists %v and says %q", v.Asks, v.Type, v.Board, v.Status)
	}
}

func (s dashboardSeen) checkRefusals(t *testing.T) {
	for says, v := range map[string]dashboardView{"This API key is not valid here": s.Pages.WrongKey, "cannot be an API key": s.Pages.ImpossibleKey} {
		if !strings.Contains(v.Status, says) {
			t.Errorf("it says %q, want %q", v.Status, says)
		}
		if !v.Asks || v.Board || v.Focus != "key" || v.Key != "" || len(v.Kept.Session) > 0 {
			t.Errorf("%s: it asks again %v with the focus on %q, shows the lists %v, keeps %q and %v", says, v.Asks, v.Focus, v.Board, v.Key, v.Kept.Session)
		}
	}
}

// wantRows compares rows by some of their columns.
func wantRows(t *testing.T, what string, rows []row, columns []string, want ...string) {
	t.Helper()
	got := make([]string, len(rows))
	for i, r := range rows {
		cells := make([]string, len(columns))
		for j, column := range columns {
			cells[j] = r[column]
		}
		got[i] = strings.Join(cells, " | ")
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant:\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (s dashboardSeen) checkLists(t *testing.T) {
	v := s.Pages.SignIn
	if v.Asks || !v.Board || !strings.HasPrefix(v.Status, "Up to date") || len(v.Notes) > 0 {
		t.Errorf("it asks for a key %v, shows the lists %v, says %q and %v", v.Asks, v.Board, v.Status, v.Notes)
	}
	wantRows(t, "nodes", v.Nodes, []string{"Node", "State", "Shards owned", "Replicas held"}, "n1 | alive | 32 | 32")
	wantRows(t, "integrations", v.Integrations, []string{"Integration", "Provider", "State"}, "crm | custom | ok", "mistyped | custom | misconfigured")

	lists := s.Pages.Lists
	all := slices.Concat(lists.First, lists.Second)
	if len(lists.First) != 100 || len(all) != 5+crowdSize {
		t.Fatalf("%d and %d accounts on two pages", len(lists.First), len(lists.Second))
	}
	wantRows(t, "accounts", all[:5], []string{"Account", "Integration", "State", "Generation", "Reason"},
		oddAccount+" | crm | active | 2 | ",
		deadAccount+" | crm | needs reauth | 1 | invalid_grant",
		"beta/gone | crm | disconnected | 1 | ",
		leavingAccount+" | crm | active | 1 | ",
		"beta/waiting | mistyped | active | 1 | ")
	if fine, dead := all[0]["Failures"], all[1]["Failures"]; fine != "0" || dead != "1" {
		t.Errorf("%s failures of %s and %s of %s, want 0 and 1", fine, oddAccount, dead, deadAccount)
	}
	for i, r := range all[5:] {
		if name := fmt.Sprintf("crowd/%03d", i); r["Account"] != name || r["State"] != "active" {
			t.Errorf("row %d is %v, want %s", i+5, r, name)
		}
	}
	if r := all[0]; r["Token expires"] != "in 1 hour" && r["Token expires"] != "in 60 minutes" && r["Token expires"] != "in 59 minutes" {
		t.Errorf("a token of an hour expires %q", r["Token expires"])
	}
	if !slices.Equal(lists.Ends, []bool{true, false, false, true}) || len(lists.Again) != 100 || lists.Again[0]["Account"] != oddAccount {
		t.Errorf("the buttons of the pages are off %v; back on the first page there are %d accounts", lists.Ends, len(lists.Again))
	}
}

func (s dashboardSeen) checkShards(t *testing.T) {
	v := s.Pages.Shards
	if !v.Closed || v.Count != "Shards 32" || !s.Pages.Refreshes.Open {
		t.Errorf("closed at first %v, %q, open after the page has refreshed itself %v", v.Closed, v.Count, s.Pages.Refreshes.Open)
	}
	var want []string
	for shard := range 32 {
		want = append(want, fmt.Sprintf("%d | n1 | n1", shard))
	}
	wantRows(t, "shards", v.Rows, []string{"Shard", "Owner", "Replicas"}, want...)
}

func (s dashboardSeen) checkFilters(t *testing.T) {
	found, name := s.Pages.Filters, []string{"Account"}
	wantRows(t, "needs_reauth", found["needs reauth"], name, deadAccount)
	wantRows(t, "disconnected", found["disconnected"], name, "beta/gone")
	wantRows(t, "pending", found["pending"], name, "Nothing here")
	wantRows(t, "tenant", found["tenant"], name, oddAccount, deadAccount)
	if active := found["active"]; len(active) != 100 || slices.ContainsFunc(active, func(r row) bool { return r["State"] != "active" }) {
		t.Errorf("%d active accounts on the first page: %v", len(active), active)
	}
}

func (s dashboardSeen) checkHistory(t *testing.T) {
	for name, h := range map[string]historyView{oddAccount: s.Pages.History.True, deadAccount: s.Pages.History.Spoilt} {
		if h.Title != "History of "+name || h.Focus != "history-title" || len(h.Notes) > 0 {
			t.Errorf("%s: the title is %q, the focus is on %q, there are notes %v", name, h.Title, h.Focus, h.Notes)
		}
		if h.Elements != 0 {
			t.Errorf("%s: there are %d elements in cells that should have text only", name, h.Elements)
		}
	}
	wantRows(t, oddAccount, s.Pages.History.True.Lines, []string{"What", "Reason", "Detail", "Generation", "Node"},
		"refreshed |  |  | 2 | n1",
		"created |  |  | 1 | n1")
	h := hostileWord
	wantRows(t, deadAccount, s.Pages.History.Spoilt.Lines, []string{"What", "Reason", "Detail", "Generation", "Node"},
		strings.Join([]string{"needs reauth", h, h, "1", h}, " | "),
		strings.Join([]string{"created", h, h, "1", h}, " | "))
}

func (s dashboardSeen) checkRefreshes(t *testing.T) {
	r := s.Pages.Refreshes
	if !r.Focused {
		t.Error("the focus was lost when the page refreshed itself")
	}
	i := slices.IndexFunc(r.Accounts, func(r row) bool { return r["Account"] == leavingAccount })
	if i < 0 || r.Accounts[i]["State"] != "disconnected" {
		t.Errorf("the account that was disconnected meanwhile is not shown as that: row %d of %d", i, len(r.Accounts))
	}
}

func (s dashboardSeen) checkOffline(t *testing.T) {
	v := s.Pages.Offline
	if v.Status != "Not up to date" || !v.Board || !strings.Contains(v.Notes["accounts-note"], "Not up to date") || !strings.Contains(v.Text, leavingAccount) {
		t.Errorf("it says %q and %v, and shows:\n%s", v.Status, v.Notes, v.Text)
	}
}

func (s dashboardSeen) checkForgotten(t *testing.T, key string) {
	in := s.Pages.SignIn.Kept
	if in.Session["grantd.key"] != key {
		t.Errorf("signed in, the session keeps %d values and none is the key", len(in.Session))
	}
	v := s.Pages.SignOut
	if len(v.Kept.Session) > 0 || v.Key != "" || v.Tenant != "" {
		t.Errorf("signed out, the session keeps %v, the fields %q and %q", v.Kept.Session, v.Key, v.Tenant)
	}
	for when, kept := range map[string]keptByBrowser{"signed in": in, "signed out": v.Kept} {
		if len(kept.Local) > 0 || kept.Databases > 0 || len(kept.Cookies) > 0 || !strings.HasSuffix(kept.URL, "/ui/") || strings.Contains(string(kept.History), key) {
			t.Errorf("%s, the browser keeps %v, %d databases, cookies %v, %s, history %s", when, kept.Local, kept.Databases, kept.Cookies, kept.URL, kept.History)
		}
	}
	for when, now := range map[string]dashboardView{"at once": v.dashboardView, "after a reload": v.AfterReload} {
		if !now.Asks || now.Board || now.Status != "Not signed in" || strings.Contains(now.Text, leavingAccount) {
			t.Errorf("signed out, %s it asks %v, shows the lists %v and says %q:\n%s", when, now.Asks, now.Board, now.Status, now.Text)
		}
	}
}

func (s dashboardSeen) checkTenant(t *testing.T) {
	v := s.Pages.TenantKey
	wantRows(t, "accounts", v.Accounts, []string{"Account"}, oddAccount, deadAccount)
	if !v.Board || len(v.Nodes) > 0 || len(v.Shards) > 0 || !maps.Equal(v.Notes, map[string]string{"nodes-note": "This key may not see this."}) {
		t.Errorf("it shows the lists %v, the nodes %q and says %v", v.Board, v.Nodes, v.Notes)
	}
}

func (s dashboardSeen) checkPhone(t *testing.T) {
	for _, name := range []string{"signin", "board"} {
		phone, ok := s.Phone[name]
		if !ok || phone.Pixels > 0 || len(phone.Elements) > 0 {
			t.Errorf("%s (looked at: %v) is %d pixels wider than a phone; too wide are:\n%s", name, ok, phone.Pixels, strings.Join(phone.Elements, "\n"))
		}
	}
}

func (s dashboardSeen) checkAccessible(t *testing.T) {
	names := map[string][]string{"signin": {"textbox API key", "button Show"}, "board": {
		"checkbox Refresh every 5 s", "button Sign out", "textbox Tenant", "combobox State", "button Filter",
		"table Nodes", "table Shards", "table Integrations", "table Accounts", "table History of " + oddAccount, "button " + leavingAccount, "button Close",
	}}
	for page, expected := range names {
		var got []string
		for _, n := range s.Named[page] {
			got = append(got, n.Role+" "+n.Name)
			if n.Name == "" {
				t.Errorf("%s: a %s has no name", page, n.Role)
			}
		}
		for _, name := range expected {
			if !slices.Contains(got, name) {
				t.Errorf("%s: there is no %q among %q", page, name, got)
			}
		}
		walk := s.Walks[page]
		if walk.Count < 3 || len(walk.Unreached) > 0 || len(walk.Unseen) > 0 {
			t.Errorf("%s: of %d controls the Tab key does not get to %q; the focus is not seen on %q", page, walk.Count, walk.Unreached, walk.Unseen)
		}
		light, dark := s.Faults[page+", light"], s.Faults[page+", dark"]
		if light.Ground == "" || light.Ground == dark.Ground {
			t.Errorf("%s: the ground is %q in light and %q in dark", page, light.Ground, dark.Ground)
		}
		for _, fault := range slices.Concat(light.Found, dark.Found) {
			t.Errorf("%s: %s", page, fault)
		}
	}
}

// checkQuiet allows no complaint of the browser but those about answers that
// the script provoked.
func (s dashboardSeen) checkQuiet(t *testing.T, base string) {
	provoked := map[string]string{"wrongKey": "status of 401", "tenantKey": "status of 403", "offline": "net::ERR_INTERNET_DISCONNECTED"}
	for _, c := range s.Complaints {
		if says, ok := provoked[c.Step]; !ok || !strings.HasPrefix(c.Text, "Failed to load resource: ") || !strings.Contains(c.Text, says) || !strings.HasPrefix(c.URL, base+"/v1/") {
			t.Errorf("in step %s the browser complains: %s (%s)", c.Step, c.Text, c.URL)
		}
	}
	for _, r := range s.Requests {
		if !strings.HasPrefix(r, base+"/") {
			t.Errorf("the page asked %s", r)
		}
	}
	for _, path := range []string{"/ui/app.js", "/v1/cluster", "/v1/accounts?limit=100"} {
		if !slices.Contains(s.Requests, base+path) {
			t.Errorf("%s was not asked for: did the test see the requests?", path)
		}
	}
}
