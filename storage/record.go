package storage

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagepb"
)

// accountFields is the highest field number of AccountRecord: what lies above
// it was written by a newer version and is kept (Put.KeepAbove).
const accountFields = 28

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
		Variables:         p.Variables,
		Facts:             p.Facts,
		Subject:           p.Subject,
		RequestedScopes:   p.RequestedScopes,
	}, nil
}

func claim(p *storagepb.ClaimRecord) *credential.Claim {
	if p == nil {
		return nil
	}
	return &credential.Claim{
		Attempt:     p.Attempt,
		Generation:  p.Generation,
		Node:        p.Node,
		Boot:        p.Boot,
		Term:        p.Term,
		At:          moment(p.At),
		Lifetime:    time.Duration(p.LifetimeNanos),
		Uncertain:   p.Uncertain,
		Interrupted: p.Interrupted,
	}
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

func decodeEvent(v []byte) (credential.Event, error) {
	var p storagepb.EventRecord
	if err := proto.Unmarshal(v, &p); err != nil {
		return credential.Event{}, damaged("event", err)
	}
	return eventOf(&p), nil
}

func moment(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return time.Unix(p.Seconds, int64(p.Nanos)).UTC()
}

func sealed(b []byte) credential.Sealed {
	if len(b) == 0 {
		return nil
	}
	return b
}
