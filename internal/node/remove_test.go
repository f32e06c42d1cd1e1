package node

import (
	"errors"
	"testing"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/httpapi"
)

func TestANodeAloneIsNotRemoved(t *testing.T) {
	n := &Node{core: &Core{name: "n1"}}
	if _, err := n.removeNode(t.Context(), "n1"); !errors.Is(err, httpapi.ErrLastNode) {
		t.Errorf("itself: %v", err)
	}
	if _, err := n.removeNode(t.Context(), "n2"); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("another one: %v", err)
	}
}
