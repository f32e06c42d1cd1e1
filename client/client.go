package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/wire"
)

const (
	// defaultTimeout bounds a request whose context has no deadline.
	defaultTimeout = time.Minute
	// maxAnswer is the largest answer in bytes that is read.
	maxAnswer = 16 << 20
)

// Options are the knobs of a [Client]. The zero value is usable.
type Options struct {
	// HTTP sends the requests; nil: one with a timeout of a minute. Redirects
	// are never followed, whatever it says: the API key goes to no other place.
	HTTP *http.Client
	// UserAgent names the program; empty: "grantd-go".
	UserAgent string
}

// Client talks to one grantd, or to any node of a cluster through a load
// balancer. It is safe for concurrent use.
type Client struct {
	base  string
	http  *http.Client
	agent string
	// authorize sets the API key, which lives in the closure only: printing a
	// Client cannot show it.
	authorize func(http.Header)
}

// New returns a client of the API at base, such as "https://grants.example.com",
// that presents key.
func New(base string, key wire.Secret, o Options) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("grantd: the address must be a URL like https://host:port, without user, query and fragment")
	}
	if strings.ContainsFunc(key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("grantd: the API key holds blanks or other characters that no key has")
	}
	h := http.Client{Timeout: defaultTimeout}
	if o.HTTP != nil {
		h = *o.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if o.UserAgent == "" {
		o.UserAgent = "grantd-go"
	}
	value := "Bearer " + key.Reveal()
	return &Client{
		base:      strings.TrimSuffix(u.String(), "/"),
		http:      &h,
		agent:     o.UserAgent,
		authorize: func(h http.Header) { h.Set("Authorization", value) },
	}, nil
}

// call sends one request and decodes its answer. body nil sends none; query
// parameters that are empty are left out.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return out, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return out, fmt.Errorf("grantd: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return out, fmt.Errorf("grantd: answer of %s %s broke off: %w", method, path, err)
	}
	if len(answer) > maxAnswer {
		return out, fmt.Errorf("grantd: answer of %s %s is larger than %d bytes", method, path, maxAnswer)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return out, errorOf(res, answer)
	}
	if res.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		// Not the decoder's own words: they can hold a part of the answer.
		return out, fmt.Errorf("grantd: answer of %s %s is not what it should be; is %s grantd's address?", method, path, c.base)
	}
	return out, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("grantd: the request does not encode: %w", err)
		}
		content = bytes.NewReader(b)
	}
	target := c.base + path
	for name, v := range query {
		if len(v) == 0 || v[0] == "" {
			delete(query, name)
		}
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, fmt.Errorf("grantd: %w", err)
	}
	c.authorize(req.Header)
	req.Header.Set("Accept", "application/json, "+wire.ProblemType)
	req.Header.Set("User-Agent", c.agent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// accountPath is the path of the account named "tenant/id".
func accountPath(account, rest string) (string, error) {
	tenant, id, ok := strings.Cut(account, "/")
	if !ok || tenant == "" || id == "" {
		return "", fmt.Errorf("grantd: account %q is not of the form tenant/id", account)
	}
	return "/v1/accounts/" + url.PathEscape(tenant) + "/" + url.PathEscape(id) + rest, nil
}

func pageQuery(cursor string, limit int) url.Values {
	q := url.Values{"cursor": {cursor}}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}
