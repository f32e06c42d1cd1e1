package credential

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestWhatStandsForARefreshTokenComesBack(t *testing.T) {
	b := Bearer{Subject: "anna@example.com", Claims: map[string]json.RawMessage{"scope": json.RawMessage(`"a b"`), "sub": json.RawMessage("null")}}
	text, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseBearer(text); err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("%+v, %v", got, err)
	}
	s := Subjected{Token: "t", TokenType: "urn:ietf:params:oauth:token-type:jwt", Audience: "api", Resource: "https://a.example/"}
	if text, err = s.Seal(); err != nil {
		t.Fatal(err)
	}
	if got, err := ParseSubjected(text); err != nil || got != s {
		t.Errorf("%+v, %v", got, err)
	}
	if text, err = (Bearer{}).Seal(); err != nil || text.IsZero() {
		t.Errorf("one that says nothing is kept as nothing: %v", err)
	}
}

func TestWhatCannotStandForARefreshToken(t *testing.T) {
	many := map[string]json.RawMessage{}
	for i := range maxStandingClaims + 1 {
		many[strings.Repeat("x", i+1)] = json.RawMessage("1")
	}
	long := strings.Repeat("hunter2", 10_000)
	for name, bad := range map[string]interface{ Seal() (Secret, error) }{
		"audience of one's own": Bearer{Claims: map[string]json.RawMessage{"aud": json.RawMessage(`"x"`)}},
		"endless":               Bearer{Claims: map[string]json.RawMessage{"exp": json.RawMessage("9e9")}},
		"too many claims":       Bearer{Claims: many},
		"a very long claim":     Bearer{Claims: map[string]json.RawMessage{"x": json.RawMessage(`"` + long + `"`)}},
		"not JSON":              Bearer{Claims: map[string]json.RawMessage{"x": json.RawMessage("hunter2")}},
		"control character":     Bearer{Subject: "hunter2\n"},
		"no token":              Subjected{TokenType: "x"},
		"no type":               Subjected{Token: "hunter2"},
		"a very long token":     Subjected{Token: long, TokenType: "x"},
		"a very long audience":  Subjected{Token: "x", TokenType: "x", Audience: long},
		"broken in the middle":  Subjected{Token: "hunter2\r\nx", TokenType: "x"},
	} {
		if _, err := bad.Seal(); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "x", `{"subject_token":1}`, `{"claims":{"aud":"x"}}`, `[]`, "{" + long} {
		_, err := ParseBearer(NewSecret(text))
		_, also := ParseSubjected(NewSecret(text))
		if text != `{"subject_token":1}` && !errors.Is(err, ErrInvalid) || !errors.Is(also, ErrInvalid) {
			t.Errorf("%q: %v, %v", text, err, also)
		}
	}
}
