package oauth

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

func deviceRegistration() Registration {
	reg := registration("https://p.example")
	reg.Provider.DeviceAuthorizationURL, reg.Provider.TokenAuthMethod = "https://p.example/device", catalog.NoSecret
	return reg
}

func TestDeviceAuthorization(t *testing.T) {
	const code = `"device_code":"the-device-code","user_code":"ABCD-EFGH","verification_uri":"https://p.example/activate"`
	for name, tc := range map[string]struct {
		answer string
		want   DeviceAuthorization // ExpiresIn 0: refused
	}{
		"all of it":             {`{` + code + `,"verification_uri_complete":"https://p.example/activate?c=A","expires_in":600,"interval":2}`, DeviceAuthorization{VerificationURIComplete: "https://p.example/activate?c=A", ExpiresIn: 10 * time.Minute, Interval: 2 * time.Second}},
		"no interval":           {`{` + code + `,"expires_in":600}`, DeviceAuthorization{ExpiresIn: 10 * time.Minute, Interval: defaultInterval}},
		"endless":               {`{` + code + `,"expires_in":1e8,"interval":1e8}`, DeviceAuthorization{ExpiresIn: maxDeviceLife, Interval: maxInterval}},
		"no lifetime":           {`{` + code + `}`, DeviceAuthorization{}},
		"no code":               {`{"user_code":"A","verification_uri":"https://p.example/","expires_in":600}`, DeviceAuthorization{}},
		"script for an address": {`{` + strings.Replace(code, "https://p.example/activate", "javascript:alert(1)", 1) + `,"expires_in":600}`, DeviceAuthorization{}},
		"HTML":                  {`<html>`, DeviceAuthorization{}},
	} {
		t.Run(name, func(t *testing.T) {
			var seen string
			d, err := New(answering(200, tc.answer, &seen), Options{}).DeviceAuthorize(t.Context(), deviceRegistration(), []string{"a", "b"})
			if tc.want.ExpiresIn == 0 {
				wantFailure(t, err, credential.Unrecognised, "no_device_code", true)
				return
			}
			if err != nil || d.DeviceCode.Reveal() != "the-device-code" || d.UserCode != "ABCD-EFGH" || d.VerificationURI != "https://p.example/activate" {
				t.Fatalf("%+v, %v", d, err)
			}
			if d.ExpiresIn != tc.want.ExpiresIn || d.Interval != tc.want.Interval || d.VerificationURIComplete != tc.want.VerificationURIComplete {
				t.Errorf("%+v, want %+v", d, tc.want)
			}
			if seen != "https://p.example/device client_id=the-client&scope=a+b" {
				t.Errorf("sent %s", seen)
			}
		})
	}
	_, err := New(answering(200, "", nil), Options{}).DeviceAuthorize(t.Context(), registration("https://p.example"), nil)
	wantFailure(t, err, credential.Misconfigured, "bad_device_authorization_url", false)
}

func TestDevicePollSaysHowThePersonHasDecided(t *testing.T) {
	for code, class := range map[string]credential.Class{
		CodePending: credential.Transient, CodeSlowDown: credential.Transient, CodeDenied: credential.Terminal, CodeExpired: credential.Terminal,
		"invalid_grant": credential.Terminal, "invalid_client": credential.Misconfigured, "odd": credential.Unrecognised,
	} {
		_, err := New(answering(400, `{"error":"`+code+`"}`, nil), Options{}).DevicePoll(t.Context(), deviceRegistration(), credential.NewSecret("the-device-code"))
		wantFailure(t, err, class, code, true)
	}
	_, err := New(answering(400, `{"error":"the-device-code"}`, nil), Options{}).DevicePoll(t.Context(), deviceRegistration(), credential.NewSecret("the-device-code"))
	wantFailure(t, err, credential.Unrecognised, "unprintable", true)
	var seen string
	g, err := New(answering(200, `{"access_token":"a","refresh_token":"r"}`, &seen), Options{}).DevicePoll(t.Context(), deviceRegistration(), credential.NewSecret("d"))
	want := url.Values{"grant_type": {grantDeviceCode}, "device_code": {"d"}, "client_id": {"the-client"}}
	if err != nil || g.RefreshToken.Reveal() != "r" || seen != "https://p.example/token "+want.Encode() {
		t.Errorf("%+v, %v, sent %s", g, err, seen)
	}
}
