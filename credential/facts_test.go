package credential_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/grantd/grantd/credential"
)

func TestFactsAreBounded(t *testing.T) {
	many := map[string]string{}
	for i := range credential.MaxFacts + 1 {
		many[fmt.Sprint("fact", i)] = "x"
	}
	for name, facts := range map[string]map[string]string{
		"too many": many, "no name": {"": "x"}, "a long name": {strings.Repeat("a", credential.MaxFactName+1): "x"}, "a blank": {"a b": "x"},
		"a long value": {"a": strings.Repeat("x", credential.MaxFactValue+1)}, "a line break": {"a": "x\ny"}, "not text": {"a": "\xff"},
	} {
		if err := credential.CheckFacts(facts); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		merged := credential.MergeFacts(map[string]string{"kept": "y"}, facts)
		if err := credential.CheckFacts(merged); err != nil || merged["kept"] != "y" {
			t.Errorf("%s became %d facts, %v", name, len(merged), err)
		}
	}
	if got := credential.MergeFacts(map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "", "b": "3"}); !maps.Equal(got, map[string]string{"b": "3"}) {
		t.Errorf("merged: %v", got)
	}
}

func TestSubjectsAreToldApartAndCannotBeComparedAcrossTenants(t *testing.T) {
	ada := credential.Subject{Issuer: "https://idp.example", User: "7"}
	seen := [][]byte{ada.Hash("acme", "crm")}
	for name, h := range map[string][]byte{
		"another tenant": ada.Hash("other", "crm"), "another integration": ada.Hash("acme", "erp"),
		"another issuer": credential.Subject{Issuer: "https://evil.example", User: "7"}.Hash("acme", "crm"),
		"another user":   credential.Subject{Issuer: "https://idp.example", User: "8"}.Hash("acme", "crm"),
		"moved bytes":    credential.Subject{Issuer: "https://idp.example7", User: ""}.Hash("acme", "crm"),
		"moved":          credential.Subject{Issuer: "https://idp.exampl", User: "e7"}.Hash("acme", "crm"),
	} {
		for _, other := range seen {
			if bytes.Equal(h, other) {
				t.Errorf("%s has the same hash", name)
			}
		}
		seen = append(seen, h)
	}
	if !bytes.Equal(ada.Hash("acme", "crm"), seen[0]) || len(seen[0]) != 32 {
		t.Error("the hash is not stable")
	}
	if credential.Subject(credential.Subject{Issuer: "x"}).Hash("acme", "crm") != nil {
		t.Error("nobody has a hash")
	}
}
