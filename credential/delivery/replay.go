package delivery

import (
	"fmt"
	"time"

	"github.com/grantd/grantd/credential"
)

// MaxReplay bounds the deliveries that one request replays in one group.
const MaxReplay = 10_000

// Replay says which deliveries of an end point are made once more: exactly one
// of Place, a range of times, or Parked.
type Replay struct {
	Webhook string `json:"webhook"`
	Place   Place  `json:"place,omitzero"`
	// From and To are a range of the events' times, with From, without To; zero:
	// no bound. Both zero: no range.
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Parked bool      `json:"parked,omitempty"`
	// After is where the replay goes on that stopped there.
	After Place `json:"after,omitzero"`
}

// Replayed is what came of it.
type Replayed struct {
	Count int `json:"count"`
	// Next is the After to go on with; zero: it is done.
	Next Place `json:"next,omitzero"`
}

// Selects reports whether a delivery is to be made once more.
func (r *Replay) Selects(d *Delivery) bool {
	switch {
	case r.Place != Place{}:
		return d.Place == r.Place
	case r.Parked:
		return d.State == Parked
	}
	at := d.Event.At
	return (r.From.IsZero() || !at.Before(r.From)) && (r.To.IsZero() || at.Before(r.To))
}

// Validate says what is wrong; credential.ErrInvalid.
func (r *Replay) Validate() error {
	kinds := 0
	for _, is := range []bool{r.Place != Place{}, !r.From.IsZero() || !r.To.IsZero(), r.Parked} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fmt.Errorf("%w: name one delivery, or a range of times, or all that is parked", credential.ErrInvalid)
	case !r.From.IsZero() && !r.To.IsZero() && !r.From.Before(r.To):
		return fmt.Errorf("%w: the range of times ends before it begins", credential.ErrInvalid)
	}
	return nil
}
