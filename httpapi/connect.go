package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/grantd/grantd/connect"
	"github.com/grantd/grantd/credential"
)

// Cookies that bind a flow to a browser. The prefix has browsers take the first
// only over TLS, from this very host, for all paths. On plain HTTP, which is taken
// on this machine only, Chromium keeps such a cookie and Safari does not, so it
// has another name there.
const (
	browserCookie      = "__Host-grantd-connect"
	browserCookieLocal = "grantd-connect"
	cookieSeconds      = 60 * 60
)

// maxForm is the largest form that is read, in bytes.
const maxForm = 64 << 10

// openLink answers GET /connect/{link}: a browser is shown what is asked for, and
// anything else is sent to the provider. Looking uses nothing up, and what only
// looks ahead is told nothing.
func (a *api) openLink(x *exchange) error {
	if x.onlyLooks() {
		return nil
	}
	link := x.r.PathValue("link")
	if !wantsPage(x.r.Header.Get("Accept")) {
		return x.startFlow(link, nil)
	}
	v, err := a.Connect.Look(&x.ctx, link)
	if err != nil {
		return x.linkProblem(err)
	}
	return x.writePage(http.StatusOK, consentPage(v, nil, ""))
}

// followLink answers POST /connect/{link}: the person goes on to the provider.
func (a *api) followLink(x *exchange) error {
	if !x.sameSite() {
		return x.writePage(http.StatusForbidden, sorry("Please open the link itself", "Another site tried to go on in your name. Nothing was begun.", "Open the link that you were sent."))
	}
	form, err := x.readForm()
	if err != nil {
		return err
	}
	return x.startFlow(x.r.PathValue("link"), form)
}

// startFlow sends the person to the provider.
func (x *exchange) startFlow(link string, form url.Values) error {
	told := make(map[string]string, len(form))
	for name := range form {
		told[name] = form.Get(name)
	}
	started, err := x.a.Connect.Start(&x.ctx, link, x.browser(), told)
	var missing *connect.MissingVariables
	if errors.As(err, &missing) || errors.Is(err, credential.ErrInvalid) {
		return x.askAgain(link, form, err)
	}
	if err != nil {
		return x.linkProblem(err)
	}
	x.setBrowser(started.Browser)
	return x.sendTo(started.URL)
}

// askAgain shows the form once more, with what was wrong.
func (x *exchange) askAgain(link string, form url.Values, why error) error {
	v, err := x.a.Connect.Look(&x.ctx, link)
	if err != nil {
		return x.linkProblem(err)
	}
	x.a.log.DebugContext(&x.ctx, "variables of a link were refused", x.attrs("err", why)...)
	return x.writePage(http.StatusBadRequest, consentPage(v, form, "Please check what you entered: letters, digits, dots and hyphens are allowed, such as the first part of the address at which you sign in."))
}

// linkProblem tells a person why a link does not work.
func (x *exchange) linkProblem(err error) error {
	ask := "Ask whoever sent you the link for a new one."
	switch {
	case errors.Is(err, connect.ErrNoLink):
		return x.writePage(http.StatusNotFound, sorry("This link does not work", "It may be incomplete, or too old.", "Check that you opened all of it. "+ask))
	case errors.Is(err, connect.ErrExpired):
		return x.writePage(http.StatusGone, sorry("This link has expired", "It was good for a short time only, so that nobody else could use it.", ask))
	case errors.Is(err, connect.ErrUsed):
		return x.writePage(http.StatusGone, usedPage())
	}
	x.a.log.ErrorContext(&x.ctx, "flow could not be begun", x.attrs("err", err)...)
	return x.writePage(http.StatusServiceUnavailable, sorry("That does not work at the moment", "The connection could not be begun because of a fault here or at the provider. Nothing was connected.", "Try again in a few minutes. If it fails again, tell whoever sent you the link."))
}

// callback answers GET /callback: the person is back from the provider.
func (a *api) callback(x *exchange) error {
	if x.onlyLooks() {
		return nil
	}
	params, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return x.writeResult(connect.Result{Outcome: connect.OutcomeTwice})
	}
	r := a.Connect.Finish(&x.ctx, params, x.browser())
	if r.ReturnURL != "" {
		return x.sendTo(r.ReturnURL)
	}
	return x.writeResult(r)
}

func (x *exchange) writeResult(r connect.Result) error {
	status, page := resultPage(r)
	return x.writePage(status, page)
}

// postedCallback answers POST /callback, of providers with response_mode
// form_post. A browser sends no SameSite=Lax cookie with what another site posts,
// so it is sent round once more.
func (a *api) postedCallback(x *exchange) error {
	form, err := x.readForm()
	if err != nil {
		return err
	}
	return x.sendTo(a.Connect.PublicURL() + "/callback?" + form.Encode())
}

// onlyLooks answers requests that do not come from a person's click: HEAD, and
// browsers and mail scanners that fetch ahead.
func (x *exchange) onlyLooks() bool {
	h := x.r.Header
	ahead := strings.Contains(strings.ToLower(h.Get("Sec-Purpose")+" "+h.Get("Purpose")+" "+h.Get("X-Moz")), "prefetch")
	if x.r.Method != http.MethodHead && !ahead {
		return false
	}
	pageHeaders(x.Header(), "default-src 'none'")
	x.WriteHeader(http.StatusNoContent)
	return true
}

// wantsPage reports whether a client names HTML among what it takes: browsers do,
// scripts do not.
func wantsPage(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		if media, params, err := mime.ParseMediaType(strings.TrimSpace(part)); err == nil && (media == "text/html" || media == "application/xhtml+xml") && params["q"] != "0" {
			return true
		}
	}
	return false
}

// sameSite reports whether a form was sent by our own page. Clients that are no
// browsers say nothing.
func (x *exchange) sameSite() bool {
	switch x.r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
	default:
		return false
	}
	origin := x.r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	own, err := url.Parse(x.a.Connect.PublicURL())
	return err == nil && strings.EqualFold(origin, own.Scheme+"://"+own.Host)
}

// readForm reads a form that was posted.
func (x *exchange) readForm() (url.Values, error) {
	media, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, &problem{kind: kindMediaType, detail: "Forms are application/x-www-form-urlencoded."}
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxForm+1))
	if err != nil {
		return nil, &problem{kind: kindInvalid, detail: "The form ended too early or could not be read.", cause: err}
	}
	if len(body) > maxForm {
		return nil, &problem{kind: kindTooLarge, detail: "The form is larger than 64 KiB, the most that is taken."}
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalid("The form is not application/x-www-form-urlencoded.")
	}
	return form, nil
}

// sendTo sends the browser on. What it comes from is told to nobody.
func (x *exchange) sendTo(target string) error {
	pageHeaders(x.Header(), "default-src 'none'")
	x.Header().Set("Location", target)
	x.WriteHeader(http.StatusSeeOther)
	return nil
}

func (x *exchange) cookieName() (name string, secure bool) {
	if strings.HasPrefix(x.a.Connect.PublicURL(), "http:") {
		return browserCookieLocal, false
	}
	return browserCookie, true
}

// browser is the mark that the browser has; empty: none, or several, of which
// nobody can say which is ours.
func (x *exchange) browser() string {
	name, _ := x.cookieName()
	if all := x.r.CookiesNamed(name); len(all) == 1 {
		return all[0].Value
	}
	return ""
}

func (x *exchange) setBrowser(mark credential.Secret) {
	name, secure := x.cookieName()
	http.SetCookie(x, &http.Cookie{
		Name: name, Value: mark.Reveal(), Path: "/", MaxAge: cookieSeconds, Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// Connect makes connect links and leads the flows that are started from them; see
// connect.Connect, whose methods these are.
type Connect interface {
	Create(ctx context.Context, n connect.NewLink) (connect.Created, error)
	Look(ctx context.Context, link string) (connect.View, error)
	Start(ctx context.Context, link, browser string, variables map[string]string) (connect.Started, error)
	Finish(ctx context.Context, params url.Values, browser string) connect.Result
	PublicURL() string
}
