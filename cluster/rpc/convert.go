package rpc

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/rpcpb"
)

// Each pair of functions below puts a type of the domain into a message and
// takes it out again. Slices are shared with the message, which nobody changes.

func toRef(r credential.Ref) *rpcpb.Ref { return &rpcpb.Ref{Tenant: r.Tenant, Id: r.ID} }

func fromRef(r *rpcpb.Ref) credential.Ref {
	return credential.Ref{Tenant: r.GetTenant(), ID: r.GetId()}
}

// toTime leaves a time that is not known out.
func toTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func toToken(t credential.Token) *rpcpb.Token {
	return &rpcpb.Token{
		Kind: string(t.Kind), Secret: []byte(t.Secret.Reveal()), Username: t.Username, TokenType: t.TokenType,
		ExpiresAt: toTime(t.ExpiresAt), Scopes: t.Scopes, Generation: t.Generation, Replica: t.Replica,
	}
}

func fromToken(t *rpcpb.Token) credential.Token {
	return credential.Token{
		Kind: credential.Kind(t.GetKind()), Secret: credential.NewSecret(string(t.GetSecret())), Username: t.GetUsername(), TokenType: t.GetTokenType(),
		ExpiresAt: fromTime(t.GetExpiresAt()), Scopes: t.GetScopes(), Generation: t.GetGeneration(), Replica: t.GetReplica(),
	}
}

// toAccount leaves the sealed values, the claim and the subject out: they are the
// owner's.
func toAccount(a credential.Account) *rpcpb.Account {
	return &rpcpb.Account{
		Ref: toRef(a.Ref), Kind: string(a.Kind), Integration: a.Integration, Provider: a.Provider, State: string(a.State), Reason: a.Reason,
		Scopes: a.Scopes, Generation: a.Generation, TokenType: a.TokenType, Username: a.Username,
		ExpiresAt: toTime(a.ExpiresAt), RefreshExpiresAt: toTime(a.RefreshExpiresAt), ExpiryAssumed: a.ExpiryAssumed,
		NextRefreshAt: toTime(a.NextRefreshAt), LastRefreshAt: toTime(a.LastRefreshAt), CreatedAt: toTime(a.CreatedAt), UpdatedAt: toTime(a.UpdatedAt),
		Failures: int64(a.Failures), Variables: a.Variables, Facts: a.Facts, RequestedScopes: a.RequestedScopes,
	}
}

func fromAccount(a *rpcpb.Account) credential.Account {
	return credential.Account{
		Ref: fromRef(a.GetRef()), Kind: credential.Kind(a.GetKind()), Integration: a.GetIntegration(), Provider: a.GetProvider(), State: credential.State(a.GetState()), Reason: a.GetReason(),
		Scopes: a.GetScopes(), Generation: a.GetGeneration(), TokenType: a.GetTokenType(), Username: a.GetUsername(),
		ExpiresAt: fromTime(a.GetExpiresAt()), RefreshExpiresAt: fromTime(a.GetRefreshExpiresAt()), ExpiryAssumed: a.GetExpiryAssumed(),
		NextRefreshAt: fromTime(a.GetNextRefreshAt()), LastRefreshAt: fromTime(a.GetLastRefreshAt()), CreatedAt: fromTime(a.GetCreatedAt()), UpdatedAt: fromTime(a.GetUpdatedAt()),
		Failures: int(a.GetFailures()), Variables: a.GetVariables(), Facts: a.GetFacts(), RequestedScopes: a.GetRequestedScopes(),
	}
}

func toImport(i credential.Import) *rpcpb.ImportRequest {
	return &rpcpb.ImportRequest{
		Ref: toRef(i.Ref), Integration: i.Integration, Kind: string(i.Kind), Secret: []byte(i.Secret.Reveal()), RefreshToken: []byte(i.RefreshToken.Reveal()),
		Username: i.Username, Scopes: i.Scopes, ExpiresAt: toTime(i.ExpiresAt), RefreshExpiresAt: toTime(i.RefreshExpiresAt), TokenType: i.TokenType,
		Variables: i.Variables, Facts: i.Facts, RequestedScopes: i.RequestedScopes,
		Subject: i.Subject, AllowOtherIdentity: i.AllowOtherIdentity, Reauthorise: i.Reauthorise,
	}
}

func fromImport(i *rpcpb.ImportRequest) credential.Import {
	return credential.Import{
		Ref: fromRef(i.GetRef()), Integration: i.GetIntegration(), Kind: credential.Kind(i.GetKind()),
		Secret: credential.NewSecret(string(i.GetSecret())), RefreshToken: credential.NewSecret(string(i.GetRefreshToken())),
		Username: i.GetUsername(), Scopes: i.GetScopes(), ExpiresAt: fromTime(i.GetExpiresAt()), RefreshExpiresAt: fromTime(i.GetRefreshExpiresAt()), TokenType: i.GetTokenType(),
		Variables: i.GetVariables(), Facts: i.GetFacts(), RequestedScopes: i.GetRequestedScopes(),
		Subject: i.GetSubject(), AllowOtherIdentity: i.GetAllowOtherIdentity(), Reauthorise: i.GetReauthorise(),
	}
}

// toList leaves Allow out, which does not travel.
func toList(q credential.Query) *rpcpb.ListRequest {
	l := &rpcpb.ListRequest{Tenant: q.Tenant, State: string(q.State), Integration: q.Integration, Limit: uint32(max(q.Limit, 0))}
	if q.After != (credential.Ref{}) {
		l.After = toRef(q.After)
	}
	return l
}

func fromList(l *rpcpb.ListRequest) credential.Query {
	return credential.Query{
		Tenant: l.GetTenant(), State: credential.State(l.GetState()), Integration: l.GetIntegration(),
		After: fromRef(l.GetAfter()), Limit: int(min(l.GetLimit(), maxLimit)),
	}
}

func toPage(p credential.Page) *rpcpb.Page {
	out := &rpcpb.Page{Accounts: make([]*rpcpb.Account, len(p.Accounts))}
	for i, a := range p.Accounts {
		out.Accounts[i] = toAccount(a)
	}
	if p.Next != (credential.Ref{}) {
		out.Next = toRef(p.Next)
	}
	return out
}

func fromPage(p *rpcpb.Page) credential.Page {
	out := credential.Page{Accounts: make([]credential.Account, len(p.GetAccounts())), Next: fromRef(p.GetNext())}
	for i, a := range p.GetAccounts() {
		out.Accounts[i] = fromAccount(a)
	}
	return out
}

func toHistory(h credential.History) *rpcpb.History {
	out := &rpcpb.History{Lines: make([]*rpcpb.Line, len(h.Lines)), Next: h.Next}
	for i, l := range h.Lines {
		out.Lines[i] = &rpcpb.Line{
			Number: l.Number, At: toTime(l.At), What: string(l.What), Reason: l.Reason, Detail: l.Detail,
			Generation: l.Generation, Attempt: l.Attempt, Node: l.Node,
		}
	}
	return out
}

func fromHistory(h *rpcpb.History) credential.History {
	out := credential.History{Lines: make([]credential.NumberedLine, len(h.GetLines())), Next: h.GetNext()}
	for i, l := range h.GetLines() {
		out.Lines[i] = credential.NumberedLine{Number: l.GetNumber(), Line: credential.Line{
			At: fromTime(l.GetAt()), What: credential.What(l.GetWhat()), Reason: l.GetReason(), Detail: l.GetDetail(),
			Generation: l.GetGeneration(), Attempt: l.GetAttempt(), Node: l.GetNode(),
		}}
	}
	return out
}

var fateStates = map[credential.FateState]rpcpb.Fate_State{
	credential.FateUnknown: rpcpb.Fate_STATE_UNKNOWN, credential.FateNeverSent: rpcpb.Fate_STATE_NEVER_SENT,
	credential.FateInFlight: rpcpb.Fate_STATE_IN_FLIGHT, credential.FateAnswered: rpcpb.Fate_STATE_ANSWERED,
}

func toFate(f credential.Fate) *rpcpb.Fate {
	return &rpcpb.Fate{State: fateStates[f.State], Entry: f.Entry, RemainingMs: millis(f.Remaining)}
}

// fromFate takes a state of a newer version for unknown.
func fromFate(f *rpcpb.Fate) credential.Fate {
	out := credential.Fate{Entry: f.GetEntry(), Remaining: duration(f.GetRemainingMs())}
	for ours, theirs := range fateStates {
		if theirs == f.GetState() {
			out.State = ours
		}
	}
	return out
}

func toStatus(groups []GroupStatus) *rpcpb.Status {
	out := &rpcpb.Status{}
	for _, g := range groups {
		out.Groups = append(out.Groups, &rpcpb.GroupStatus{
			Group: uint32(g.Group), Applied: g.Applied, Last: g.Last, Voters: g.Voters, Learners: g.Learners,
			MembersIndex: g.MembersIndex, Leader: g.Leader, Term: g.Term,
		})
	}
	return out
}

func fromStatus(s *rpcpb.Status) []GroupStatus {
	var out []GroupStatus
	for _, g := range s.GetGroups() {
		if g.GetGroup() > math.MaxUint16 {
			continue
		}
		out = append(out, GroupStatus{
			Group: uint16(g.GetGroup()), Applied: g.GetApplied(), Last: g.GetLast(), Voters: g.GetVoters(), Learners: g.GetLearners(),
			MembersIndex: g.GetMembersIndex(), Leader: g.GetLeader(), Term: g.GetTerm(),
		})
	}
	return out
}

func toEvents(events []credential.Event) []*rpcpb.Event {
	out := make([]*rpcpb.Event, len(events))
	for i := range events {
		out[i] = toEvent(&events[i])
	}
	return out
}

func toEvent(e *credential.Event) *rpcpb.Event {
	out := &rpcpb.Event{Id: e.ID, Type: string(e.Type), At: toTime(e.At), Reason: e.Reason, Generation: e.Generation, Integration: e.Integration}
	if e.Ref != (credential.Ref{}) {
		out.Ref = toRef(e.Ref)
	}
	return out
}

func fromEvents(events []*rpcpb.Event) []credential.Event {
	out := make([]credential.Event, len(events))
	for i, e := range events {
		out[i] = fromEvent(e)
	}
	return out
}

func fromEvent(e *rpcpb.Event) credential.Event {
	return credential.Event{
		ID: e.GetId(), Type: credential.EventType(e.GetType()), Ref: fromRef(e.GetRef()), At: fromTime(e.GetAt()), Reason: e.GetReason(),
		Generation: e.GetGeneration(), Integration: e.GetIntegration(),
	}
}

func toOutbox(p OutboxPage) *rpcpb.Outbox {
	out := &rpcpb.Outbox{First: uint64(p.First), Last: uint64(p.Last)}
	for i := range p.Events {
		e := &p.Events[i]
		out.Events = append(out.Events, &rpcpb.StoredEvent{Position: uint64(e.Pos), Revision: e.Revision, Event: toEvent(&e.Event)})
	}
	return out
}

func fromOutbox(o *rpcpb.Outbox) OutboxPage {
	out := OutboxPage{First: credential.EventPos(o.GetFirst()), Last: credential.EventPos(o.GetLast())}
	for _, e := range o.GetEvents() {
		out.Events = append(out.Events, credential.StoredEvent{Pos: credential.EventPos(e.GetPosition()), Revision: e.GetRevision(), Event: fromEvent(e.GetEvent())})
	}
	return out
}
