package httpapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/grantd/grantd/connect"
)

// The pages of connect links: one template without a script, its style within it
// under its hash.
//
//go:embed pages
var pageFiles embed.FS

// connectPage is what a page shows.
type connectPage struct {
	Title   string
	Problem string // what was wrong with what the person told
	Text    []string
	Scopes  []connect.Scope

	Form      bool
	Variables []pageVariable
	Button    string
	Small     string
	// Plain are origins over plain HTTP that the form leads to, besides all https.
	Plain []string

	Style template.CSS // set when it is written
}

// pageVariable is a field of the form.
type pageVariable struct {
	connect.Variable
	Label, Value string
	Wrong        bool
}

// connectTemplate is the template, its style, and the policy that lets a browser
// load nothing but that: forms go here and, after our redirect, to the provider.
type connectTemplate struct {
	page   *template.Template
	style  template.CSS
	policy string
}

var loadConnectTemplate = sync.OnceValues(func() (*connectTemplate, error) {
	page, err := template.ParseFS(pageFiles, "pages/connect.html")
	if err != nil {
		return nil, err
	}
	css, err := pageFiles.ReadFile("pages/connect.css")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(css)
	return &connectTemplate{
		page: page, style: template.CSS(css), //nolint:gosec // our own file
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'",
	}, nil
})

// writePage answers a page.
func (x *exchange) writePage(status int, p connectPage) error {
	t, err := loadConnectTemplate()
	if err != nil {
		return err
	}
	p.Style = t.style
	var b bytes.Buffer
	if err := t.page.Execute(&b, p); err != nil {
		return fmt.Errorf("page does not render: %w", err)
	}
	h := x.Header()
	pageHeaders(h, t.policy+"; form-action "+formTargets(p))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	x.WriteHeader(status)
	_, _ = x.Write(b.Bytes()) // a client that went away needs no answer
	return nil
}

// formTargets are where a form may lead. Browsers hold the redirects that follow
// against it, too, and no list of a provider's hosts would be complete.
func formTargets(p connectPage) string {
	if !p.Form {
		return "'none'"
	}
	return strings.Join(append([]string{"'self'", "https:"}, p.Plain...), " ")
}

// pageHeaders are those of every answer to a person: nothing is kept, framed, or
// told to the next site.
func pageHeaders(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// consentPage asks a person whether to go on to the provider.
func consentPage(v connect.View, told url.Values, problem string) connectPage {
	product := v.Product
	if product == "" {
		product = "The application that sent you this link"
	}
	p := connectPage{
		Title: "Connect your " + v.Provider + " account", Problem: problem, Form: true, Scopes: v.Scopes, Plain: v.PlainOrigins,
		Button: "Continue to " + v.Provider,
		Small:  "You decide at " + v.Provider + " whether to allow this. If you did not expect this page, close it: nothing happens.",
	}
	what := "wants to use your " + v.Provider + " account on your behalf"
	if v.Again {
		p.Title = "Connect your " + v.Provider + " account again"
		what = "needs your permission once more to go on using your " + v.Provider + " account"
	}
	if len(v.Scopes) > 0 {
		p.Text = []string{product + " " + what + ". It asks for:"}
	} else {
		p.Text = []string{product + " " + what + "."}
	}
	for _, variable := range v.Missing {
		label := variable.Title
		if label == "" {
			label = strings.ReplaceAll(variable.Name, "_", " ") + " of your " + v.Provider + " account"
		}
		p.Variables = append(p.Variables, pageVariable{Variable: variable, Label: label, Value: told.Get(variable.Name), Wrong: problem != ""})
	}
	return p
}

// sorry is a page that says what is wrong and what to do.
func sorry(title string, text ...string) connectPage { return connectPage{Title: title, Text: text} }

// resultPage tells a person what became of the authorization.
func resultPage(r connect.Result) (status int, p connectPage) {
	product, provider := r.Product, r.Provider
	if product == "" {
		product = "the application that sent you the link"
	}
	if provider == "" {
		provider = "the provider"
	}
	again := "To try again, open the link once more. If it no longer works, ask whoever sent it for a new one."
	switch r.Outcome {
	case connect.OutcomeDone:
		p = sorry("Your "+provider+" account is connected", "That is all; you can close this window.")
		if len(r.Missing) > 0 {
			p.Text = append([]string{"Not everything that was asked for was allowed. Missing: " + strings.Join(r.Missing, ", ") + ". If something does not work later, connect the account again and allow it."}, p.Text...)
		}
		return http.StatusOK, p
	case connect.OutcomeDenied:
		return http.StatusOK, sorry("Nothing was connected", provider+" says that access was not allowed. "+capital(product)+" has no access to your account.", "If that was a mistake, open the link once more and allow access.")
	case connect.OutcomeOtherIdentity:
		return http.StatusConflict, sorry("That was another user",
			"You signed in to "+provider+" as another user than the one who connected this account at first. Nothing was changed.",
			"Sign out at "+provider+", open the link once more, and sign in as the user who connected the account. If the user is meant to change, ask whoever sent you the link for one that allows it.")
	case connect.OutcomeRefused, connect.OutcomeExchange, connect.OutcomeNoCode, connect.OutcomeVariables:
		text := provider + " did not let the connection be made."
		if r.Reason != "" {
			text = provider + " did not let the connection be made. It says: " + r.Reason + "."
		}
		return http.StatusBadGateway, sorry("That did not work", text, again+" If it fails again, tell them what "+provider+" says.")
	case connect.OutcomeBrowser:
		return http.StatusForbidden, sorry("Please go on in the browser in which you began",
			"The link was opened in another browser, or this one does not keep cookies. Nothing was connected.",
			"Open the link in this browser, and stay in it until you are back here. Cookies must be allowed for this site.")
	case connect.OutcomeLate:
		return http.StatusGone, sorry("That took too long", "The time to allow access is over, and nothing was connected.", again)
	case connect.OutcomeUsed:
		return http.StatusGone, usedPage()
	case connect.OutcomePending:
		return http.StatusAccepted, sorry("One moment", "Your answer is being worked on. Reload this page in a few seconds.")
	case connect.OutcomeNotStored, connect.OutcomeInterrupted, connect.OutcomeTryAgain:
		return http.StatusServiceUnavailable, sorry("That did not work", "Your account could not be connected because of a fault here.", again)
	case connect.OutcomeIssuer, connect.OutcomeTwice:
		return http.StatusBadRequest, sorry("That answer was not right", "What came back does not fit what was asked for, so it was thrown away. Nothing was connected.", again)
	case connect.OutcomeRepeated:
		return http.StatusGone, sorry("That answer was used already", "Nothing was connected with it.", again)
	default: // OutcomeUnknown
		return http.StatusBadRequest, sorry("Nothing was begun here", "What you came with belongs to no connection that is under way, or to one that is long over.", again)
	}
}

func usedPage() connectPage {
	return sorry("This link was used already", "An account was connected through it, and it works only once.", "If you want to connect another account, or the same one again, ask whoever sent you the link for a new one.")
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
