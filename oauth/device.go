package oauth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/grantd/grantd/credential"
)

const grantDeviceCode = "urn:ietf:params:oauth:grant-type:device_code"

// Bounds of a device authorization.
const (
	defaultInterval = 5 * time.Second // RFC 8628 section 3.2
	maxInterval     = 5 * time.Minute
	maxDeviceLife   = 24 * time.Hour
)

// Codes of [Client.DevicePoll] that say how the person has decided (RFC 8628
// section 3.5).
const (
	CodePending  = "authorization_pending" // not yet: poll again
	CodeSlowDown = "slow_down"             // not yet: poll again, five seconds slower from now on
	CodeDenied   = "access_denied"
	CodeExpired  = "expired_token"
)

// DeviceAuthorization is what a person is shown to authorise on another device
// (RFC 8628 section 3.2).
type DeviceAuthorization struct {
	DeviceCode              credential.Secret // for polling
	UserCode                string            // for the person to type
	VerificationURI         string            // where to type it
	VerificationURIComplete string            // with the code in it; empty: there is none
	ExpiresIn               time.Duration
	Interval                time.Duration // between polls
}

// DeviceAuthorize begins a device authorization (RFC 8628 section 3.1). The error
// is always a *[credential.Failure].
func (c *Client) DeviceAuthorize(ctx context.Context, reg Registration, scopes []string) (DeviceAuthorization, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return DeviceAuthorization{}, failure
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	p := params{}
	p.setScopes(reg.Provider, scopes)
	answer, failure := c.send(ctx, call{
		endpoint: "device_authorization_url", url: reg.Provider.DeviceAuthorizationURL, reg: reg, params: p, resources: reg.Provider.Resources,
	})
	if failure != nil {
		return DeviceAuthorization{}, failure
	}
	m := parse(answer.header, answer.body)
	if failure = classify(answer, m, reg.Provider, time.Now()); failure != nil {
		hideSecrets(failure, reg.ClientSecret)
		return DeviceAuthorization{}, failure
	}
	code, _ := m.fields.token("", "device_code")
	d := DeviceAuthorization{
		DeviceCode: credential.NewSecret(code), UserCode: m.fields.line("user_code"),
		VerificationURI: m.fields.line("verification_uri"), VerificationURIComplete: m.fields.line("verification_uri_complete"),
		ExpiresIn: min(m.fields.lifetime("expires_in"), maxDeviceLife), Interval: min(m.fields.lifetime("interval"), maxInterval),
	}
	if d.Interval == 0 {
		d.Interval = defaultInterval
	}
	plain := strings.HasPrefix(reg.Provider.DeviceAuthorizationURL, "http://")
	if code == "" || d.UserCode == "" || d.ExpiresIn == 0 || strings.ContainsFunc(d.UserCode, notVSCHAR) ||
		!isEndpoint(d.VerificationURI, plain) || d.VerificationURIComplete != "" && !isEndpoint(d.VerificationURIComplete, plain) {
		return DeviceAuthorization{}, &credential.Failure{Class: credential.Unrecognised, Code: "no_device_code", Status: answer.status, Sent: true, Detail: answer.describe(m)}
	}
	return d, nil
}

// DevicePoll asks whether the person has decided (RFC 8628 section 3.4). The
// error is always a *[credential.Failure]: transient with [CodePending] or
// [CodeSlowDown] while not, terminal with [CodeDenied] or [CodeExpired] if they
// never will.
func (c *Client) DevicePoll(ctx context.Context, reg Registration, deviceCode credential.Secret) (credential.Grant, error) {
	if failure := c.complete(ctx, &reg); failure != nil {
		return credential.Grant{}, failure
	}
	p := newParams(grantDeviceCode)
	p.add(reg.Provider.TokenParams)
	p.set("device_code", deviceCode.Reveal())
	g, err := c.token(ctx, reg, tokenRequest{params: p, identify: true, secrets: [2]credential.Secret{deviceCode}})
	if f, ok := errors.AsType[*credential.Failure](err); ok && f.Class == credential.Unrecognised {
		switch f.Code {
		case CodePending:
			f.Class = credential.Transient
		case CodeDenied, CodeExpired:
			f.Class = credential.Terminal
		}
	}
	return g, err
}
