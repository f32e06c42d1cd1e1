package authserver

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// maxSteps is how many redirects and pages a flow may have.
const maxSteps = 20

// browser is a person at a browser: it keeps cookies, follows redirects, fills
// in the form of every page that it is shown and submits it. It runs no scripts.
type browser struct {
	client *http.Client
	typed  map[string]string // by the field's name
}

func newBrowser(typed map[string]string) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := newClient()
	client.Jar = jar
	return &browser{client: client, typed: typed}, nil
}

func (b *browser) close() { b.client.CloseIdleConnections() }

// visit goes on from an address until it is sent to goal, and returns where that
// was, without asking there.
func (b *browser) visit(ctx context.Context, from, goal string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	for range maxSteps {
		resp, err := b.client.Do(req)
		if err != nil {
			return nil, err
		}
		to, err := b.next(ctx, resp)
		if err != nil {
			return nil, fmt.Errorf("at %s: %w", req.URL.Redacted(), err)
		}
		if strings.HasPrefix(to.URL.String(), goal) {
			return to.URL, nil
		}
		req = to
	}
	return nil, fmt.Errorf("still not at %s after %d pages", goal, maxSteps)
}

// next makes the request that a person makes who is shown resp.
func (b *browser) next(ctx context.Context, resp *http.Response) (*http.Request, error) {
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		to, err := resp.Location()
		if err != nil {
			return nil, err
		}
		return http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	f, err := readForm(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, err
	}
	for name := range f.fields {
		if text, ok := b.typed[name]; ok {
			f.fields.Set(name, text)
		}
	}
	to, err := resp.Request.URL.Parse(f.action)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(f.fields.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", to.Scheme+"://"+to.Host)
	return req, nil
}

// form is a form of a page that is sent by POST.
type form struct {
	action string
	fields url.Values
}

// errNoForm: a page offers nothing to do.
var errNoForm = errors.New("the page has no form to submit")

// readForm reads the first form of a page. It reads HTML as lenient XML, which
// is enough for pages that are written with care.
func readForm(page io.Reader) (form, error) {
	d := xml.NewDecoder(page)
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	f, within := form{fields: url.Values{}}, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return form{}, errNoForm
		}
		if err != nil {
			return form{}, fmt.Errorf("read the page: %w", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "form":
				f.action, within = attribute(e, "action"), true
			case "input", "button":
				if name := attribute(e, "name"); within && name != "" {
					f.fields.Set(name, attribute(e, "value"))
				}
			}
		case xml.EndElement:
			if e.Name.Local == "form" {
				return f, nil
			}
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
