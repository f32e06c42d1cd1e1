package placement

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/grantd/grantd/credential"
)

// Desk answers what other nodes ask about founding and joining, in the bytes
// that travel. peer is the name in the certificate of the node that asks: a
// node asks for itself only, and only members carry the requests of others.
// Methods may be called concurrently.
type Desk struct {
	Former *Former
	placed atomic.Pointer[Placement]
}

// Serve has the desk let nodes in, from when this node is a member.
func (d *Desk) Serve(p *Placement) { d.placed.Store(p) }

func parse(what string, value []byte, into any) error {
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("%w: %s cannot be read", credential.ErrInvalid, what)
	}
	return nil
}

// Join answers a [Joining] with a [Welcome].
func (d *Desk) Join(ctx context.Context, peer string, record []byte) ([]byte, error) {
	var j Joining
	if err := parse("request to join", record, &j); err != nil {
		return nil, err
	}
	p := d.placed.Load()
	if p == nil {
		return nil, fmt.Errorf("%w: this node is no member yet", credential.ErrNotOwner)
	}
	if j.Carried {
		members := p.View().all(Active, Leaving)
		if !slices.Contains(members, peer) {
			return nil, fmt.Errorf("%w: %s is no member and cannot speak for %s", credential.ErrInvalid, peer, j.Node.Name)
		}
	} else if j.Node.Name != peer {
		return nil, fmt.Errorf("%w: the certificate is of node %s, the request of %s", credential.ErrInvalid, peer, j.Node.Name)
	}
	w, err := p.Admit(ctx, j)
	if err != nil {
		return nil, err
	}
	return json.Marshal(w)
}

// Promise answers a [Promise] with an [Answer].
func (d *Desk) Promise(ctx context.Context, peer string, promise []byte) ([]byte, error) {
	var p Promise
	if err := parse("promise", promise, &p); err != nil {
		return nil, err
	}
	if !p.Still && p.Founder != peer {
		return nil, fmt.Errorf("%w: the certificate is of node %s, the promise to %s", credential.ErrInvalid, peer, p.Founder)
	}
	a, err := d.Former.Promise(ctx, p)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// Release takes back a [Promise]; the answer is empty.
func (d *Desk) Release(ctx context.Context, peer string, promise []byte) ([]byte, error) {
	var p Promise
	if err := parse("promise", promise, &p); err != nil {
		return nil, err
	}
	if p.Founder != peer {
		return nil, fmt.Errorf("%w: the certificate is of node %s, the promise to %s", credential.ErrInvalid, peer, p.Founder)
	}
	return nil, d.Former.Release(ctx, p)
}
