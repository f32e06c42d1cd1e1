package httpapi

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// createAccount answers POST /v1/accounts: 201 for a new account, 200 where
// credentials were brought to one that existed.
func (a *api) createAccount(x *exchange) error {
	if err := x.need(wire.PermAccountsWrite); err != nil {
		return err
	}
	var in wire.NewAccount
	if err := x.decodeBody(&in); err != nil {
		return err
	}
	imported, err := importOf(in)
	if err != nil {
		return err
	}
	x.account = imported.Ref
	if err := x.usable(imported); err != nil {
		return err
	}
	account, created, err := a.Accounts.Import(&x.ctx, imported)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		x.Header().Set("Location", "/v1/accounts/"+account.Ref.String())
	}
	return x.json(status, accountOf(account))
}

// usable refuses tenants and integrations that the key does not see, in the
// same bytes as an integration that is not there. That an id is taken by an
// account of an integration that the key does not see cannot be hidden: ids
// are unique within a tenant.
func (x *exchange) usable(in credential.Import) error {
	if !x.key.SeesTenant(in.Ref.Tenant) || !x.key.SeesAccount(in.Ref) || !x.key.SeesIntegration(in.Integration) {
		return notFound()
	}
	_, err := x.a.Integrations.Integration(&x.ctx, in.Integration)
	return err
}

func (a *api) getAccount(x *exchange) error {
	ref, err := x.accountRef(wire.PermAccountsRead)
	if err != nil {
		return err
	}
	account, err := a.Accounts.Account(&x.ctx, ref)
	if err != nil {
		return err
	}
	if !x.key.SeesIntegration(account.Integration) {
		return notFound()
	}
	return x.json(http.StatusOK, accountOf(account))
}

func (a *api) disconnect(x *exchange) error {
	ref, err := x.accountRef(wire.PermAccountsWrite)
	if err != nil {
		return err
	}
	if err := x.sees(ref); err != nil {
		return err
	}
	account, err := a.Accounts.Disconnect(&x.ctx, ref)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, accountOf(account))
}

func (a *api) listAccounts(x *exchange) error {
	if err := x.need(wire.PermAccountsRead); err != nil {
		return err
	}
	values, err := x.query("tenant", "state", "integration", "limit", "cursor")
	if err != nil {
		return err
	}
	q, err := accountQuery(values)
	if err != nil {
		return err
	}
	list := wire.AccountList{Accounts: []wire.Account{}}
	if !x.limit(&q) {
		return x.json(http.StatusOK, list) // as if the tenant had no accounts
	}
	if q.After != (credential.Ref{}) && q.Tenant != "" && q.After.Tenant != q.Tenant {
		return badCursor()
	}
	found, err := a.Accounts.Accounts(&x.ctx, q)
	if err != nil {
		return err
	}
	for _, account := range found.Accounts {
		list.Accounts = append(list.Accounts, accountOf(account))
	}
	if found.Next != (credential.Ref{}) {
		list.NextCursor = encodeCursor(found.Next.String())
	}
	return x.json(http.StatusOK, list)
}

// limit narrows the query to the key's scope; false: nothing is left of it.
func (x *exchange) limit(q *credential.Query) bool {
	if x.key.Tenant != wire.All {
		if q.Tenant != "" && q.Tenant != x.key.Tenant {
			return false
		}
		q.Tenant = x.key.Tenant
	}
	if q.Integration != "" && !x.key.SeesIntegration(q.Integration) {
		return false
	}
	if key := x.key; key.Integrations != nil || key.Accounts != nil {
		q.Allow = func(account credential.Account) bool {
			return key.SeesIntegration(account.Integration) && key.SeesAccount(account.Ref)
		}
	}
	return true
}

// accountQuery reads the filters of a list of accounts.
func accountQuery(values url.Values) (credential.Query, error) {
	var q credential.Query
	var err error
	if q.Limit, err = limitOf(values); err != nil {
		return q, err
	}
	if q.Tenant = values.Get("tenant"); q.Tenant != "" {
		if err := credential.CheckName("tenant", q.Tenant); err != nil {
			return q, err
		}
	}
	if q.Integration = values.Get("integration"); q.Integration != "" {
		if err := credential.CheckName("integration", q.Integration); err != nil {
			return q, err
		}
	}
	switch q.State = credential.State(values.Get("state")); q.State {
	case "", credential.StatePending, credential.StateActive, credential.StateNeedsReauth, credential.StateDisconnected:
	default:
		return q, invalid("Query parameter state must be one of pending, active, needs_reauth, disconnected.")
	}
	after, err := decodeCursor(values)
	if err != nil || after == "" {
		return q, err
	}
	if q.After, err = credential.ParseRef(after); err != nil {
		return q, badCursor()
	}
	return q, nil
}

func (a *api) history(x *exchange) error {
	ref, err := x.accountRef(wire.PermAccountsRead)
	if err != nil {
		return err
	}
	values, err := x.query("limit", "cursor")
	if err != nil {
		return err
	}
	limit, below, err := historyPage(values)
	if err != nil {
		return err
	}
	if err := x.sees(ref); err != nil {
		return err
	}
	h, err := a.Accounts.History(&x.ctx, ref, below, limit)
	if err != nil {
		return err
	}
	out := wire.History{History: make([]wire.HistoryLine, 0, len(h.Lines))}
	for _, line := range h.Lines {
		out.History = append(out.History, lineOf(line))
	}
	if h.Next != 0 {
		out.NextCursor = encodeCursor(strconv.FormatUint(h.Next, 10))
	}
	return x.json(http.StatusOK, out)
}

func historyPage(values url.Values) (limit int, below uint64, err error) {
	if limit, err = limitOf(values); err != nil {
		return 0, 0, err
	}
	after, err := decodeCursor(values)
	if err != nil || after == "" {
		return limit, 0, err
	}
	if below, err = strconv.ParseUint(after, 10, 64); err != nil || below == 0 {
		return 0, 0, badCursor()
	}
	return limit, below, nil
}

// accountOf is the account as the API shows it.
func accountOf(a credential.Account) wire.Account {
	return wire.Account{
		ID: a.ID, Tenant: a.Tenant, Type: string(a.Kind),
		Integration: a.Integration, Provider: a.Provider,
		State: string(a.State), Reason: a.Reason, Scopes: listOf(a.Scopes),
		RequestedScopes: listOf(a.RequestedScopes), MissingScopes: listOf(a.MissingScopes()),
		Variables: textsOf(a.Variables), Facts: textsOf(a.Facts),
		Generation: a.Generation, Failures: a.Failures,
		ExpiresAt: wire.At(a.ExpiresAt), NextRefreshAt: wire.At(a.NextRefreshAt), LastRefreshAt: wire.At(a.LastRefreshAt),
		CreatedAt: wire.At(a.CreatedAt), UpdatedAt: wire.At(a.UpdatedAt),
	}
}

func lineOf(l credential.NumberedLine) wire.HistoryLine {
	return wire.HistoryLine{
		Number: l.Number, At: wire.At(l.At), What: string(l.What), Reason: l.Reason, Detail: l.Detail,
		Generation: l.Generation, Attempt: l.Attempt, Node: l.Node,
	}
}

// textsOf never is null in JSON.
func textsOf(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// listOf never is null in JSON.
func listOf(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
