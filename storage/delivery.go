package storage

import (
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/credential/delivery"
	"github.com/grantd/grantd/storage/storagepb"
)

// ledgerKey is the key that every step of deliveries is conditional on.
var ledgerKey = []byte{tagWebhook}

// EncodeStep returns the bytes to propose to a group: the batch that changes its
// deliveries if its ledger is still at the revision that was read. Once the
// entry is committed, its index is the ledger's revision.
//
// It is a pure function. The error is ErrBadChange.
func EncodeStep(s delivery.Step) ([]byte, error) {
	ledger, err := proto.Marshal(&storagepb.DeliveryLedger{Cursor: s.Ledger.Cursor, ListedAtNanos: s.Ledger.ListedAt})
	if err != nil {
		return nil, err
	}
	b := Batch{
		Checks: []Check{{Key: ledgerKey, Revision: s.Expect}},
		Puts:   []Put{{Key: ledgerKey, Value: ledger}},
	}
	for _, webhook := range s.Purge {
		b.Deletes = append(b.Deletes, standingKey(webhook))
		for _, sub := range []byte{subOpen, subDelivered, subQueue, subDue} {
			lo := webhookPrefix(sub, webhook)
			b.DeleteRanges = append(b.DeleteRanges, KeyRange{Lo: lo, Hi: prefixEnd(lo)})
		}
	}
	for i := range s.Writes {
		if err := addWrite(&b, &s.Writes[i]); err != nil {
			return nil, err
		}
	}
	for i := range s.Standings {
		v, err := encodeStanding(&s.Standings[i])
		if err != nil {
			return nil, err
		}
		b.Puts = append(b.Puts, Put{Key: standingKey(s.Standings[i].Webhook), Value: v})
	}
	return b.Encode()
}

// addWrite replaces a delivery and what the indexes say of it. A delete of what
// is put again is undone by the put.
func addWrite(b *Batch, w *delivery.Write) error {
	if w.Before != nil && w.After != nil && (w.Before.Webhook != w.After.Webhook || w.Before.Place != w.After.Place || w.Before.Subject() != w.After.Subject()) {
		return fmt.Errorf("%w: the write of a delivery to %s moves it", ErrBadChange, w.Before.Webhook)
	}
	if d := w.Before; d != nil {
		b.Deletes = append(b.Deletes, deliveryKey(d))
		if d.State == delivery.Pending {
			b.Deletes = append(b.Deletes, queueKey(d))
			if !d.NextAt.IsZero() {
				b.Deletes = append(b.Deletes, dueKey(d))
			}
		}
	}
	d := w.After
	if d == nil {
		return nil
	}
	v, err := encodeDelivery(d)
	if err != nil {
		return err
	}
	at := binary.BigEndian.AppendUint64(nil, uint64(d.Place.At))
	b.Puts = append(b.Puts, Put{Key: deliveryKey(d), Value: v})
	if d.State == delivery.Pending {
		b.Puts = append(b.Puts, Put{Key: queueKey(d), Value: at})
		if !d.NextAt.IsZero() {
			b.Puts = append(b.Puts, Put{Key: dueKey(d), Value: at})
		}
	}
	return nil
}

func standingKey(webhook string) []byte {
	return append([]byte{tagWebhook, subStanding}, webhook...)
}

// webhookPrefix is what all keys of a kind and an end point begin with.
func webhookPrefix(sub byte, webhook string) []byte {
	b := make([]byte, 0, 3+len(webhook)+64)
	return append(append(append(b, tagWebhook, sub), webhook...), separator)
}

// subOf is the kind of key that a delivery of a state has.
func subOf(s delivery.State) byte {
	if s == delivery.Delivered {
		return subDelivered
	}
	return subOpen
}

func deliveryKey(d *delivery.Delivery) []byte { return placeKey(subOf(d.State), d.Webhook, d.Place) }

func placeKey(sub byte, webhook string, p delivery.Place) []byte {
	return appendPlace(webhookPrefix(sub, webhook), p)
}

func appendPlace(b []byte, p delivery.Place) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(p.At)), p.Pos)
}

// queuePrefix is what the queue of one subject begins with.
func queuePrefix(webhook, subject string) []byte {
	return append(append(webhookPrefix(subQueue, webhook), subject...), separator)
}

func queueKey(d *delivery.Delivery) []byte {
	return binary.BigEndian.AppendUint64(queuePrefix(d.Webhook, d.Subject()), d.Place.Pos)
}

func dueKey(d *delivery.Delivery) []byte {
	return binary.BigEndian.AppendUint64(appendTime(webhookPrefix(subDue, d.Webhook), d.NextAt), d.Place.Pos)
}

func encodeStanding(s *delivery.Standing) ([]byte, error) {
	return proto.Marshal(&storagepb.StandingRecord{
		Incarnation: s.Incarnation, Seen: s.Seen, After: s.After, Open: int64(s.Open), Parked: int64(s.Parked),
		Kept: int64(s.Kept), KeptFromAtNanos: s.KeptFrom.At, KeptFromPos: s.KeptFrom.Pos, Dropped: s.Dropped, Off: s.Off,
	})
}

func decodeStanding(webhook string, v []byte) (delivery.Standing, error) {
	var p storagepb.StandingRecord
	if err := proto.Unmarshal(v, &p); err != nil {
		return delivery.Standing{}, damaged("standing of webhook "+webhook, err)
	}
	return delivery.Standing{
		Webhook: webhook, Incarnation: p.Incarnation, Seen: p.Seen, After: p.After, Open: int(p.Open), Parked: int(p.Parked),
		Kept: int(p.Kept), KeptFrom: delivery.Place{At: p.KeptFromAtNanos, Pos: p.KeptFromPos}, Dropped: p.Dropped, Off: p.Off,
	}, nil
}

func encodeDelivery(d *delivery.Delivery) ([]byte, error) {
	e := &d.Event
	return proto.Marshal(&storagepb.DeliveryRecord{
		Event: &storagepb.EventRecord{
			Id: valid(e.ID), Type: valid(string(e.Type)), Tenant: valid(e.Ref.Tenant), Account: valid(e.Ref.ID), At: stamp(e.At),
			Reason: valid(e.Reason), Generation: e.Generation, Integration: valid(e.Integration),
		},
		State: string(d.State), Attempts: int64(d.Attempts), FirstAt: stamp(d.FirstAt), LastAt: stamp(d.LastAt), NextAt: stamp(d.NextAt),
		LatencyNanos: int64(d.Latency), Status: int64(d.Status), Answer: valid(d.Answer), Error: valid(d.Error),
	})
}

func decodeDelivery(webhook string, place, v []byte) (delivery.Delivery, error) {
	var p storagepb.DeliveryRecord
	if err := proto.Unmarshal(v, &p); err != nil {
		return delivery.Delivery{}, damaged("delivery to webhook "+webhook, err)
	}
	if len(place) != 16 {
		return delivery.Delivery{}, damaged("key of a delivery to webhook "+webhook, fmt.Errorf("%d bytes of place", len(place)))
	}
	return delivery.Delivery{
		Webhook: webhook, Place: parsePlace(place), Event: eventOf(p.Event), State: delivery.State(p.State), Attempts: int(p.Attempts),
		FirstAt: moment(p.FirstAt), LastAt: moment(p.LastAt), NextAt: moment(p.NextAt),
		Latency: time.Duration(p.LatencyNanos), Status: int(p.Status), Answer: p.Answer, Error: p.Error,
	}, nil
}

func parsePlace(b []byte) delivery.Place {
	return delivery.Place{At: int64(binary.BigEndian.Uint64(b)), Pos: binary.BigEndian.Uint64(b[8:])}
}

func eventOf(p *storagepb.EventRecord) credential.Event {
	return credential.Event{
		ID: p.GetId(), Type: credential.EventType(p.GetType()), Ref: credential.Ref{Tenant: p.GetTenant(), ID: p.GetAccount()},
		At: moment(p.GetAt()), Reason: p.GetReason(), Generation: p.GetGeneration(), Integration: p.GetIntegration(),
	}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
