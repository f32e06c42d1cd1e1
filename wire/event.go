package wire

// EventGap is the type of the one event that is of the event stream itself:
// events were dropped before the stream read them.
const EventGap = "stream:gap"

// Event tells of a change of state, in the event stream and to webhooks.
type Event struct {
	// ID is unique: receivers drop doubles by it. A gap has none.
	ID        string    `json:"id,omitempty"`
	Type      string    `json:"type"`
	Timestamp Time      `json:"timestamp"`
	Data      EventData `json:"data"`
}

// EventData says what happened to what.
type EventData struct {
	// Tenant and Account (tenant/id) are absent where the event is of an
	// integration itself.
	Tenant      string `json:"tenant,omitempty"`
	Account     string `json:"account,omitempty"`
	Integration string `json:"integration,omitempty"`
	Reason      string `json:"reason,omitempty"`
	// Generation of the account after the change.
	Generation uint64 `json:"generation,omitempty"`
	// Lost is how many events a gap is wide, of all accounts: keys that do not
	// see all accounts are not told.
	Lost uint64 `json:"lost,omitempty"`
}

// EventList is a part of the event stream.
type EventList struct {
	Events []Event `json:"events"`
	// Next is the position behind them: ask for more after it.
	Next string `json:"next"`
}
