package quirks

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/catalog"
)

// fixture is one provider as its documents show it.
type fixture struct {
	Source string `yaml:"source"` // where the shapes are from, with the date

	Like string `yaml:"like"` // the provider whose twin, such as a sandbox, this is

	// Idle are special fields of the provider that its replay does not need.
	Idle []string `yaml:"idle"`

	Machine bool `yaml:"machine"` // it has no grants of people

	Variables      map[string]string `yaml:"variables"`       // that the operator sets
	StartVariables map[string]string `yaml:"start_variables"` // with which a person is sent out, where the callback tells others
	Scopes         []string          `yaml:"scopes"`

	RefreshPath   string            `yaml:"refresh_path"` // where it is not that of the token end point
	Method        string            `yaml:"method"`
	RefreshMethod string            `yaml:"refresh_method"`
	Names         map[string]string `yaml:"names"`
	AuthNames     map[string]string `yaml:"auth_names"`
	GrantTypes    map[string]string `yaml:"grant_types"`
	Needs         map[string]string `yaml:"needs"`
	RefreshNeeds  map[string]string `yaml:"refresh_needs"`
	CodeName      string            `yaml:"code_name"`
	Callback      map[string]string `yaml:"callback"`
	TradesAccess  bool              `yaml:"trades_access"`

	Exchanged said            `yaml:"exchanged"`
	Extended  said            `yaml:"extended"`
	Refreshed said            `yaml:"refreshed"`
	Terminal  said            `yaml:"terminal"`  // absent: the standard's
	Transient said            `yaml:"transient"` // absent: the standard's
	Resources map[string]said `yaml:"resources"`

	Want want `yaml:"want"`
}

// said is an answer.
type said struct {
	Status int               `yaml:"status"`
	Header map[string]string `yaml:"header"`
	Body   string            `yaml:"body"`
}

func (s said) recorded() strict.Recorded {
	return strict.Recorded{Status: s.Status, Header: s.Header, Body: s.Body}
}

// want is what has to be understood.
type want struct {
	ExpiresIn        int               `yaml:"expires_in"` // seconds
	RefreshExpiresIn int               `yaml:"refresh_expires_in"`
	Scopes           []string          `yaml:"scopes"`
	TokenType        string            `yaml:"token_type"`
	Facts            map[string]string `yaml:"facts"`
	RequestedFacts   map[string]string `yaml:"requested_facts"` // those of the facts request
	CallbackFacts    map[string]string `yaml:"callback_facts"`
	Subject          string            `yaml:"subject"`
	APIBase          string            `yaml:"api_base"`
	TokenHost        string            `yaml:"token_host"`
	// Refresh is what is different after a refresh; null: nothing.
	Refresh *want `yaml:"refresh"`

	Terminal   string `yaml:"terminal"`  // class: code
	Transient  string `yaml:"transient"` // class: code
	RetryAfter int    `yaml:"retry_after"`
}

// refreshed is what a refresh has to bring. Where the fixture says nothing of
// it, it is what the answer to the exchange brought.
func (w want) refreshed() want {
	if w.Refresh != nil {
		return *w.Refresh
	}
	w.RequestedFacts, w.APIBase = nil, ""
	return w
}

var dated = regexp.MustCompile(`^\S.* \(\d{4}-\d{2}-\d{2}\)$`)

func fixtures(t testing.TB) map[string]*fixture {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	all := make(map[string]*fixture, len(files))
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f := &fixture{}
		d := yaml.NewDecoder(bytes.NewReader(data))
		d.KnownFields(true)
		if err := d.Decode(f); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.Like != "" {
			all[strings.TrimSuffix(filepath.Base(name), ".yaml")] = f
			continue
		}
		if !dated.MatchString(f.Source) {
			t.Errorf("%s: source %q is not a page with its date", name, f.Source)
		}
		if f.Want.Terminal == "" {
			f.Want.Terminal = "terminal: invalid_grant"
		}
		if f.Want.Transient == "" {
			f.Want.Transient = "transient: temporarily_unavailable"
		}
		all[strings.TrimSuffix(filepath.Base(name), ".yaml")] = f
	}
	for name, f := range all {
		if f.Like == "" {
			continue
		}
		if all[name] = all[f.Like]; all[name] == nil {
			t.Fatalf("%s is like %s, which has no fixture", name, f.Like)
		}
	}
	return all
}

// special are the fields that change what goes over the wire, or what is read
// from it, in a way that only a replay shows to be right.
var special = []string{
	"scope_parameter", "answer_scope_separator", "authorization_client_id_parameter", "client_id_parameter", "client_secret_parameter",
	"grant_type_parameter", "code_parameter", "callback_code_parameter", "exchange_grant_type", "exchange_params", "extension_url",
	"refresh_url", "refresh_grant_type", "refresh_token_parameter", "refresh_with_access_token", "token_request_method", "refresh_request_method",
	"token_headers", "token_params", "refresh_params", "token_path", "access_token_field", "refresh_token_field", "expires_in_field",
	"refresh_expires_in_field", "scope_field", "token_type_field", "expires_in_unit", "refresh_expires_in_unit", "subject_field",
	"error_field", "error_description_field", "ok_field", "error_statuses", "retry_after_header", "retry_after_unit",
	"terminal_errors", "transient_errors", "misconfigured_errors",
	"callback_variables", "callback_facts", "facts", "facts_request",
}

func TestEveryProviderWithASpecialFieldIsReplayed(t *testing.T) {
	c, err := catalog.Load()
	if err != nil {
		t.Fatal(err)
	}
	have := fixtures(t)
	for _, p := range c.List() {
		raw, err := json.Marshal(p)
		var fields map[string]json.RawMessage
		if err != nil || json.Unmarshal(raw, &fields) != nil {
			t.Fatal(err)
		}
		used := slices.DeleteFunc(slices.Clone(special), func(name string) bool { return fields[name] == nil })
		if p.TokenBodyFormat == catalog.JSONBody {
			used = append(used, "token_body_format: json")
		}
		if len(used) > 0 && have[p.ID] == nil {
			t.Errorf("%s uses %s, and tests/quirks/testdata/%s.yaml is missing: record what its documents show", p.ID, strings.Join(used, ", "), p.ID)
		}
	}
}
