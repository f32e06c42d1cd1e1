package httpapi_test

import (
	"context"
	"net/url"
	"time"

	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
)

// fakeConnect answers as it is told, and keeps what it was asked.
type fakeConnect struct {
	public  string
	view    connect.View
	result  connect.Result
	err     error
	created []connect.NewLink
	looked  int
	// browser and told are those of the last start, params of the last callback.
	browser string
	told    map[string]string
	params  url.Values
	started int
}

const linkMark = "bWFya21hcmttYXJrbWFya21hcmttYXJrbWFya21hcms"

// Create implements httpapi.Connect.
func (f *fakeConnect) Create(_ context.Context, n connect.NewLink) (connect.Created, error) {
	if f.err != nil {
		return connect.Created{}, f.err
	}
	f.created = append(f.created, n)
	return connect.Created{URL: credential.NewSecret(f.public + "/connect/" + canary), ExpiresAt: time.Now().Add(time.Minute)}, nil
}

// Look implements httpapi.Connect.
func (f *fakeConnect) Look(context.Context, string) (connect.View, error) {
	f.looked++
	return f.view, f.err
}

// Start implements httpapi.Connect.
func (f *fakeConnect) Start(_ context.Context, _, browser string, told map[string]string) (connect.Started, error) {
	f.started++
	f.browser, f.told = browser, told
	if len(f.view.Missing) > 0 && told[f.view.Missing[0].Name] == "" {
		return connect.Started{}, &connect.MissingVariables{Names: []string{f.view.Missing[0].Name}}
	}
	return connect.Started{URL: "https://idp.example/auth?state=x", Browser: credential.NewSecret(linkMark)}, f.err
}

// Finish implements httpapi.Connect.
func (f *fakeConnect) Finish(_ context.Context, params url.Values, browser string) connect.Result {
	f.params, f.browser = params, browser
	return f.result
}

// PublicURL implements httpapi.Connect.
func (f *fakeConnect) PublicURL() string { return f.public }
