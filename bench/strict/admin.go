package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// admin answers the admin API. It has no authentication: whoever reaches the
// provider rules it. Only browsers are kept out, because a web page must not
// rule a provider on its visitor's machine: they name their Origin.
//
//	GET    /admin/requests?after=&limit=   the record
//	GET    /admin/report                   counters, broken rules, faults
//	POST   /admin/reset                    forget everything
//	POST   /admin/clients                  register a client
//	POST   /admin/grants                   a grant without a browser
//	POST   /admin/grants:batch             many of them
//	POST   /admin/grants:report            what was counted for some grants
//	GET    /admin/grants/{id}
//	POST   /admin/grants/{id}/revoke       kill it
//	POST   /admin/grants/{id}/expire       kill its access tokens
//	GET    /admin/faults
//	POST   /admin/faults                   add one fault, or a list
//	DELETE /admin/faults                   behave again
//	DELETE /admin/faults/{id}
func (p *Provider) admin(r *http.Request, body []byte) answer {
	if r.Header.Get("Origin") != "" {
		return adminError(http.StatusForbidden, errors.New("the admin API is not for browsers: the request has an Origin"))
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/admin/"), "/")
	id := ""
	if len(parts) > 1 {
		id = parts[1]
		parts[1] = "*"
	}
	switch r.Method + " " + strings.Join(parts, "/") {
	case "GET requests":
		return p.adminRequests(r)
	case "GET report":
		return adminOK(FullReport{Report: p.Report(), Violations: p.Judge(), Faults: p.faultList().Faults})
	case "POST reset":
		p.Reset()
		return adminDone(nil)
	case "POST clients":
		return p.adminClient(body)
	case "POST grants", "POST grants:batch":
		return p.adminNewGrants(parts[0] == "grants:batch", body)
	case "POST grants:report":
		return p.adminGrantsReport(body)
	case "GET grants/*":
		s, err := p.Grant(id)
		if err != nil {
			return adminDone(err)
		}
		return adminOK(s)
	case "POST grants/*/revoke":
		return adminDone(p.Revoke(id))
	case "POST grants/*/expire":
		return adminDone(p.ExpireAccess(id))
	case "GET faults":
		return adminOK(p.faultList())
	case "POST faults":
		return p.adminAddFaults(body)
	case "DELETE faults":
		return adminDone(p.SetFaults())
	case "DELETE faults/*":
		if !p.RemoveFault(id) {
			return adminError(http.StatusNotFound, fmt.Errorf("there is no fault %q", id))
		}
		return adminDone(nil)
	}
	return adminError(http.StatusNotFound, fmt.Errorf("the admin API has no %s %s", r.Method, r.URL.Path))
}

func adminOK(v any) answer { return jsonAnswer(http.StatusOK, OutcomeDone, v) }

func adminError(status int, err error) answer {
	return errorAnswer(status, OutcomeBadRequest, "bad_request", err.Error())
}

// adminDone answers a call that returns nothing.
func adminDone(err error) answer {
	switch {
	case err == nil:
		return answer{status: http.StatusNoContent, outcome: OutcomeDone, header: http.Header{}}
	case errors.Is(err, ErrNoGrant):
		return adminError(http.StatusNotFound, err)
	case errors.Is(err, ErrFull):
		return adminError(http.StatusInsufficientStorage, err)
	}
	return adminError(http.StatusBadRequest, err)
}

// decodeStrictly reads exactly one JSON value without unknown fields.
func decodeStrictly(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the body is not the JSON expected here: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body goes on after its JSON")
	}
	return nil
}

func (p *Provider) adminRequests(r *http.Request) answer {
	after, limit := uint64(0), 1000
	var errs []error
	if s := r.URL.Query().Get("after"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		after, errs = n, append(errs, err)
	}
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		limit, errs = n, append(errs, err)
	}
	if err := errors.Join(errs...); err != nil || limit < 1 || limit > MaxBatch {
		return adminError(http.StatusBadRequest, fmt.Errorf("after must be a number and limit one from 1 to %d", MaxBatch))
	}
	list := p.record.list(after, limit)
	if list == nil {
		list = []Request{}
	}
	return adminOK(RequestList{list})
}

func (p *Provider) adminClient(body []byte) answer {
	var c ClientJSON
	if err := decodeStrictly(body, &c); err != nil {
		return adminDone(err)
	}
	return adminDone(p.PutClient(c.client()))
}

func (p *Provider) adminNewGrants(batch bool, body []byte) answer {
	var q GrantRequest
	if err := decodeStrictly(body, &q); err != nil {
		return adminDone(err)
	}
	if q.User == "" {
		q.User = defaultUser
	}
	if !batch {
		t, err := p.NewGrant(q.Client, q.User, q.Scopes)
		if err != nil {
			return adminDone(err)
		}
		return jsonAnswer(http.StatusCreated, OutcomeDone, tokensJSON(t))
	}
	if q.Count < 1 || q.Count > MaxBatch {
		return adminDone(fmt.Errorf("count is %d; it must be 1 to %d", q.Count, MaxBatch))
	}
	out := GrantBatch{Grants: make([]GrantTokens, 0, q.Count)}
	for range q.Count {
		t, err := p.NewGrant(q.Client, q.User, q.Scopes)
		if err != nil {
			return adminDone(err)
		}
		out.Grants = append(out.Grants, tokensJSON(t))
	}
	return jsonAnswer(http.StatusCreated, OutcomeDone, out)
}

func (p *Provider) adminGrantsReport(body []byte) answer {
	var q GrantsQuery
	if err := decodeStrictly(body, &q); err != nil {
		return adminDone(err)
	}
	if len(q.Grants) > MaxBatch {
		return adminDone(fmt.Errorf("%d grants are too many; at most %d", len(q.Grants), MaxBatch))
	}
	out := GrantsReport{Grants: make([]GrantStatus, 0, len(q.Grants))}
	for _, id := range q.Grants {
		s, err := p.Grant(id)
		if err != nil {
			return adminDone(err)
		}
		out.add(s)
	}
	return adminOK(out)
}

func (r *GrantsReport) add(s GrantStatus) {
	r.Grants = append(r.Grants, s)
	r.Requests += s.Requests
	r.Replays += s.Replays
	r.ReplaysAfterLoss += s.ReplaysAfterLoss
	r.AfterTerminal += s.AfterTerminal
	r.MaxInFlight = max(r.MaxInFlight, s.MaxInFlight)
	if s.Alive {
		r.Alive++
	}
}

func (p *Provider) faultList() FaultList {
	list := FaultList{Faults: []FaultJSON{}}
	for _, s := range p.Faults() {
		list.Faults = append(list.Faults, faultJSON(s))
	}
	return list
}

// adminAddFaults adds all faults of the body or none, and answers with all
// that are in use.
func (p *Provider) adminAddFaults(body []byte) answer {
	var q FaultList
	if err := decodeStrictly(body, &q); err != nil {
		return adminDone(err)
	}
	add := make([]Fault, len(q.Faults))
	for i, f := range q.Faults {
		add[i] = f.fault()
	}
	if _, err := p.faults.set(false, add...); err != nil {
		return adminDone(err)
	}
	return jsonAnswer(http.StatusCreated, OutcomeDone, p.faultList())
}
