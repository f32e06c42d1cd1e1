package placement

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/grantd/grantd/credential"
)

func TestANodeSpeaksForItselfOnly(t *testing.T) {
	inLand(t, 4, func(t *testing.T, w *land) {
		w.three()
		f, err := NewFormer(FormConfig{Self: Node{Name: "n1"}, Gossip: &home{land: &land{}}, Local: &memLocal{}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d := &Desk{Former: f}
		bytes := func(v any) []byte {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		mine := (&home{land: w, name: "n9"}).joining()
		if _, err := d.Join(t.Context(), "n9", bytes(mine)); !errors.Is(err, credential.ErrNotOwner) {
			t.Errorf("before this node is a member: %v", err)
		}
		leader, _ := w.leader(MetaGroup)
		d.Serve(w.homes[leader].placement)
		if _, err := d.Join(t.Context(), "n8", bytes(mine)); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("for another node: %v", err)
		}
		carried := mine
		carried.Carried = true
		if _, err := d.Join(t.Context(), "n8", bytes(carried)); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("carried by a stranger: %v", err)
		}
		if answer, err := d.Join(t.Context(), "n2", bytes(carried)); err != nil || string(answer) != `{"cluster":"x"}` {
			t.Errorf("carried by a member: %s, %v", answer, err)
		}
		if answer, err := d.Join(t.Context(), "n9", bytes(mine)); err != nil || string(answer) != `{"cluster":"x"}` {
			t.Errorf("for itself: %s, %v", answer, err)
		}
		p := Promise{Cluster: "y", Founder: "n3"}
		if _, err := d.Promise(t.Context(), "n2", bytes(p)); !errors.Is(err, credential.ErrInvalid) || f.Membership().Promise != nil {
			t.Errorf("a promise to another one: %v", err)
		}
		if answer, err := d.Promise(t.Context(), "n3", bytes(p)); err != nil || string(answer) != `{"held":true}` {
			t.Errorf("a promise: %s, %v", answer, err)
		}
		if _, err := d.Release(t.Context(), "n2", bytes(p)); !errors.Is(err, credential.ErrInvalid) || f.Membership().Promise == nil {
			t.Errorf("released by another one: %v", err)
		}
		if _, err := d.Release(t.Context(), "n3", bytes(p)); err != nil || f.Membership().Promise != nil {
			t.Errorf("released: %v", err)
		}
		still := Promise{Cluster: "y", Founder: "n1", Still: true}
		if answer, err := d.Promise(t.Context(), "n2", bytes(still)); err != nil || string(answer) != `{"held":false}` {
			t.Errorf("does it still found: %s, %v", answer, err)
		}
		for _, fn := range []func() error{
			func() error { _, err := d.Join(t.Context(), "n2", []byte("{")); return err },
			func() error { _, err := d.Promise(t.Context(), "n2", []byte("[]")); return err },
			func() error { _, err := d.Release(t.Context(), "n2", nil); return err },
		} {
			if err := fn(); !errors.Is(err, credential.ErrInvalid) {
				t.Errorf("garbage: %v", err)
			}
		}
	})
}
