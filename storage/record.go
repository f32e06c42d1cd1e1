package storage

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagepb"
)

// accountFields is the highest field number of AccountRecord: what lies above
// it was written by a newer version and is kept (Put.KeepAbove).
const accountFields = 24

func encodeAccount(a *credential.Account) ([]byte, error) {
	p := &storagepb.AccountRecord{
		Kind:                 text(string(a.Kind)),
		Integration:          text(a.Integration),
		Provider:             text(a.Provider),
		State:                text(string(a.State)),
		Reason:               text(a.Reason),
		Scopes:               make([]string, len(a.Scopes)),
		Generation:           a.Generation,
		TokenType:            text(a.TokenType),
		Username:             text(a.Username),
		AccessToken:          a.AccessToken,
		RefreshToken:         a.RefreshToken,
		RefreshGeneration:    a.RefreshGeneration,
		ExpiresAt:            stamp(a.ExpiresAt),
		RefreshExpiresAt:     stamp(a.RefreshExpiresAt),
		NextRefreshAt:        stamp(a.NextRefreshAt),
		LastRefreshAt:        stamp(a.LastRefreshAt),
		CreatedAt:            stamp(a.CreatedAt),
		UpdatedAt:            stamp(a.UpdatedAt),
		Failures:             int64(a.Failures),
		Claim:                claimRecord(a.Claim),
		HistoryNext:          a.HistoryNext,
		ExpiryAssumed:        a.ExpiryAssumed,
		LearnedLifetimeNanos: int64(a.LearnedLifetime),
		Refusals:             int64(a.Refusals),
	}
	for i, s := range a.Scopes {
		p.Scopes[i] = text(s)
	}
	return proto.Marshal(p)
}

// decodeAccount reads a record. Empty lists and byte strings come back as nil,
// times in UTC.
func decodeAccount(ref credential.Ref, v []byte) (credential.Account, error) {
	var p storagepb.AccountRecord
	if err := proto.Unmarshal(v, &p); err != nil {
		return credential.Account{}, damaged(fmt.Sprintf("record of account %s", ref), err)
	}
	return credential.Account{
		Ref:               ref,
		Kind:              credential.Kind(p.Kind),
		Integration:       p.Integration,
		Provider:          p.Provider,
		State:             credential.State(p.State),
		Reason:            p.Reason,
		Scopes:            p.Scopes,
		Generation:        p.Generation,
		TokenType:         p.TokenType,
		Username:          p.Username,
		AccessToken:       sealed(p.AccessToken),
		RefreshToken:      sealed(p.RefreshToken),
		RefreshGeneration: p.RefreshGeneration,
		ExpiresAt:         moment(p.ExpiresAt),
		RefreshExpiresAt:  moment(p.RefreshExpiresAt),
		NextRefreshAt:     moment(p.NextRefreshAt),
		LastRefreshAt:     moment(p.LastRefreshAt),
		CreatedAt:         moment(p.CreatedAt),
		UpdatedAt:         moment(p.UpdatedAt),
		Failures:          int(p.Failures),
		Claim:             claim(p.Claim),
		HistoryNext:       p.HistoryNext,
		ExpiryAssumed:     p.ExpiryAssumed,
		LearnedLifetime:   time.Duration(p.LearnedLifetimeNanos),
		Refusals:          int(p.Refusals),
	}, nil
}

func claimRecord(c *credential.Claim) *storagepb.ClaimRecord {
	if c == nil {
		return nil
	}
	return &storagepb.ClaimRecord{
		Attempt:       text(c.Attempt),
		Generation:    c.Generation,
		Node:          text(c.Node),
		Boot:          text(c.Boot),
		Term:          c.Term,
		At:            stamp(c.At),
		LifetimeNanos: int64(c.Lifetime),
		Uncertain:     c.Uncertain,
	}
}

func claim(p *storagepb.ClaimRecord) *credential.Claim {
	if p == nil {
		return nil
	}
	return &credential.Claim{
		Attempt:    p.Attempt,
		Generation: p.Generation,
		Node:       p.Node,
		Boot:       p.Boot,
		Term:       p.Term,
		At:         moment(p.At),
		Lifetime:   time.Duration(p.LifetimeNanos),
		Uncertain:  p.Uncertain,
	}
}

func encodeLine(l *credential.Line) ([]byte, error) {
	return proto.Marshal(&storagepb.LineRecord{
		At:         stamp(l.At),
		What:       text(string(l.What)),
		Reason:     text(l.Reason),
		Detail:     text(l.Detail),
		Generation: l.Generation,
		Attempt:    text(l.Attempt),
		Node:       text(l.Node),
	})
}

func decodeLine(v []byte) (credential.Line, error) {
	var p storagepb.LineRecord
	if err := proto.Unmarshal(v, &p); err != nil {
		return credential.Line{}, damaged("line of history", err)
	}
	return credential.Line{
		At:         moment(p.At),
		What:       credential.What(p.What),
		Reason:     p.Reason,
		Detail:     p.Detail,
		Generation: p.Generation,
		Attempt:    p.Attempt,
		Node:       p.Node,
	}, nil
}

func encodeEvent(e *credential.Event) ([]byte, error) {
	return proto.Marshal(&storagepb.EventRecord{
		Id:          text(e.ID),
		Type:        text(string(e.Type)),
		Tenant:      text(e.Ref.Tenant),
		Account:     text(e.Ref.ID),
		At:          stamp(e.At),
		Reason:      text(e.Reason),
		Generation:  e.Generation,
		Integration: text(e.Integration),
	})
}

func decodeEvent(v []byte) (credential.Event, error) {
	var p storagepb.EventRecord
	if err := proto.Unmarshal(v, &p); err != nil {
		return credential.Event{}, damaged("event", err)
	}
	return credential.Event{
		ID:          p.Id,
		Type:        credential.EventType(p.Type),
		Ref:         credential.Ref{Tenant: p.Tenant, ID: p.Account},
		At:          moment(p.At),
		Reason:      p.Reason,
		Generation:  p.Generation,
		Integration: p.Integration,
	}, nil
}

// stamp keeps a time to the nanosecond and over all years; the zero time is nil.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func moment(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return time.Unix(p.Seconds, int64(p.Nanos)).UTC()
}

// text makes a string fit for protobuf, which refuses to encode bytes that are
// not UTF-8. An odd byte in a provider's answer must not make the outcome of a
// refresh impossible to store.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func sealed(b []byte) credential.Sealed {
	if len(b) == 0 {
		return nil
	}
	return b
}
