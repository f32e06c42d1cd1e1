package httpapi

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/grantd/grantd/wire"
)

func TestBodiesAreDecodedStrictly(t *testing.T) {
	ok := `{"tenant":"acme","integration":"github","credentials":{"type":"oauth2","refresh_token":"r"}}`
	for _, c := range []struct{ name, body, says string }{
		{"fine", ok, ""},
		{"null counts as absent", `{"tenant":"acme","id":null,"credentials":{"expires_at":null}}`, ""},
		{"blanks around it", " \n" + ok + "\n\t ", ""},
		{"empty", "", "empty"},
		{"blank", " \n ", "empty"},
		{"not JSON", `hello`, "not JSON: it breaks at line 1, column 1"},
		{"not JSON further on", "{\n  \"tenant\": 'acme'\n}", "line 2, column"},
		{"broken off", `{"tenant":"acme"`, "ends in the middle"},
		{"broken off in a string", `{"tenant":"ac`, "ends in the middle"},
		{"an array", `[]`, "The body must be an object, not an array"},
		{"a string", `"acme"`, "The body must be an object, not a string"},
		{"null", `null`, "The body is null"},
		{"unknown field", `{"tenant":"acme","tennant":"x"}`, `Unknown field "tennant". Allowed here: credentials, facts, id, integration, tenant, variables.`},
		{"unknown field inside", `{"credentials":{"type":"oauth2","token":"x"}}`, `Unknown field "credentials.token". Allowed here: access_token, api_key,`},
		{"other case", `{"Tenant":"acme"}`, `Field "Tenant" is written "tenant"`},
		{"twice", `{"tenant":"a","tenant":"b"}`, `"tenant" is there twice`},
		{"twice by escape", `{"tenant":"a","\u0074enant":"b"}`, `"tenant" is there twice`},
		{"twice inside", `{"credentials":{"type":"a","type":"b"}}`, `"credentials.type" is there twice`},
		{"number for string", `{"tenant":7}`, `Field "tenant" must be a string, not a number`},
		{"boolean for string", `{"tenant":true}`, `Field "tenant" must be a string, not a boolean`},
		{"string for object", `{"credentials":"secret-value"}`, `Field "credentials" must be an object, not a string`},
		{"string for number", `{"credentials":{"expires_in":"3600"}}`, `Field "credentials.expires_in" must be a whole number, not a string`},
		{"fraction", `{"credentials":{"expires_in":1.5}}`, `Field "credentials.expires_in" must be a whole number`},
		{"exponent", `{"credentials":{"expires_in":1e3}}`, `without fraction or exponent`},
		{"too large a number", `{"credentials":{"expires_in":9223372036854775808}}`, `within 64 bits`},
		{"string for list", `{"credentials":{"scopes":"read"}}`, `Field "credentials.scopes" must be an array, not a string`},
		{"number in list", `{"credentials":{"scopes":["a",1]}}`, `Field "credentials.scopes[1]" must be a string, not a number`},
		{"null in list", `{"credentials":{"scopes":[null]}}`, `"credentials.scopes[0]" is null`},
		{"not a time", `{"credentials":{"expires_at":"tomorrow"}}`, `Field "credentials.expires_at" is not an RFC 3339 time`},
		{"number for time", `{"credentials":{"expires_at":17}}`, `Field "credentials.expires_at" must be an RFC 3339 time in a string, not a number`},
		{"more behind", ok + `{}`, "There is more behind the JSON object, at line 1, column"},
		{"rubbish behind", ok + `x`, "There is more behind"},
		{"two lines", ok + "\n" + ok, "There is more behind the JSON object, at line 2"},
		{"not UTF-8", "{\"tenant\":\"\xff\"}", "not valid UTF-8"},
		{"half a surrogate pair", `{"credentials":{"password":"a\ud800b"}}`, "surrogate pair, at line 1, column"},
		{"the other half", `{"credentials":{"password":"\udc00"}}`, "surrogate pair"},
		{"two high halves", `{"credentials":{"password":"\ud83d\ud83d"}}`, "surrogate pair"},
		{"a whole pair", `{"credentials":{"password":"\ud83d\ude00"}}`, ""},
		{"an escaped backslash before u", `{"credentials":{"password":"\\ud800"}}`, ""},
		{"a BOM", "\ufeff" + ok, "not JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var in wire.NewAccount
			checkRefusal(t, decode([]byte(c.body), &in), c.says)
		})
	}
}

func checkRefusal(t *testing.T, err error, says string) {
	t.Helper()
	if says == "" {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var p *problem
	if !errors.As(err, &p) || p.code != wire.CodeInvalidRequest {
		t.Fatalf("%v is no invalid_request", err)
	}
	if !strings.Contains(p.detail, says) {
		t.Errorf("says %q, want %q in it", p.detail, says)
	}
	if strings.Contains(p.detail, "secret-value") {
		t.Errorf("repeats a value: %q", p.detail)
	}
}

func TestNestingIsBounded(t *testing.T) {
	for _, n := range []int{maxDepth + 2, 5000, 200000} {
		var in integrationBody
		_, err := decodeOpen([]byte(`{"provider":"custom","x":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`}`), &in)
		checkRefusal(t, err, "nested deeper than 16 levels")
	}
	var in integrationBody
	if _, err := decodeOpen([]byte(`{"x":`+strings.Repeat("[", maxDepth-1)+strings.Repeat("]", maxDepth-1)+`}`), &in); err != nil {
		t.Errorf("%d levels were refused: %v", maxDepth, err)
	}
}

func TestOpenObjectsKeepWhatTheyDoNotKnow(t *testing.T) {
	var in integrationBody
	rest, err := decodeOpen([]byte(`{"provider":"custom","token_url":"https://x/t","rate_limit":{"burst":3}}`), &in)
	if err != nil || in.Provider != "custom" || string(rest["token_url"]) != `"https://x/t"` || string(rest["rate_limit"]) != `{"burst":3}` || len(rest) != 2 {
		t.Fatalf("%+v, %s, %v", in, rest, err)
	}
	_, err = decodeOpen([]byte(`{"CLIENT_SECRET":"x"}`), &in)
	checkRefusal(t, err, `is written "client_secret"`)
	_, err = decodeOpen([]byte(`{"token_params":{"a":"1","a":"2"}}`), &in)
	checkRefusal(t, err, `"token_params.a" is there twice`)
}

// FuzzDecode looks for input that is let through although encoding/json alone
// would have lost or changed something.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"tenant":"a"}`, `{"tenant":"a","tenant":"b"}`, `{"credentials":{"expires_in":1,"scopes":["a"]}}`,
		`{"a":[{"b":null}]}`, `{"tenant":"\ud800"}`, `{]`, `[1,]`, `{"a":}`, `{"tenant" "a"}`, `{"tenant":"a",}`, "\xff", `{"\u0000":1}`,
		`{"credentials":{"expires_at":"2026-01-01T00:00:00Z"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var strict wire.NewAccount
		if err := decode(data, &strict); err != nil {
			var p *problem
			if !errors.As(err, &p) || p.detail == "" || p.status != 400 {
				t.Fatalf("%q: %v is not an answer", data, err)
			}
			return
		}
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.DisallowUnknownFields()
		var loose wire.NewAccount
		if err := dec.Decode(&loose); err != nil {
			t.Fatalf("%q was taken, encoding/json says %v", data, err)
		}
		if !reflect.DeepEqual(strict, loose) {
			t.Fatalf("%q: %+v is not %+v", data, strict, loose)
		}
		if strings.Contains(strict.Tenant+strict.ID, "\ufffd") && !strings.Contains(strings.ToLower(string(data)), `\ufffd`) && !strings.Contains(string(data), "\ufffd") {
			t.Fatalf("%q: a character was replaced", data)
		}
	})
}
