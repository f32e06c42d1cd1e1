package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
)

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

func TestOnlyPublicAddressesArePublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.255.255": true, "172.32.0.1": true, "100.63.255.255": true, "100.128.0.0": true, "192.0.1.1": true,
		"2606:4700::1111": true, "2a00:1450::1": true, "::ffff:8.8.8.8": true, "64:ff9b::808:808": true,
		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "127.255.255.254": false, "10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false, "192.0.0.8": false, "168.63.129.16": false, "192.0.2.1": false,
		"198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"fc00::1": false, "fd00:ec2::254": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "ff02::1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2001::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "100::1": false, "3fff::1": false, "2606:4700::1%eth0": false,
	} {
		if got := isPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v, want %v", text, got, want)
		}
	}
	if isPublic(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

func TestExceptionsAllowNoMoreThanTheySay(t *testing.T) {
	list := allowlist{
		{Prefix: netip.MustParsePrefix("10.1.0.0/16")}, {Prefix: netip.MustParsePrefix("10.2.0.1/32"), Port: 8443},
		{Prefix: netip.MustParsePrefix("fd00::/64")}, {Host: "IdP.internal", Port: 443}, {Host: "other.internal."},
	}
	for text, want := range map[string]bool{
		"10.1.2.3:1": true, "[::ffff:10.1.2.3]:1": true, "10.2.0.1:8443": true, "[fd00::1]:9": true, "8.8.8.8:53": true,
		"10.2.0.1:443": false, "10.2.0.2:8443": false, "[fd01::1]:9": false, "127.0.0.1:443": false,
	} {
		if err := list.check(netip.MustParseAddrPort(text)); (err == nil) != want || err != nil && !errors.Is(err, ErrAddressRefused) {
			t.Errorf("%s: %v, want allowed: %v", text, err, want)
		}
	}
	for _, tc := range []struct {
		host string
		port uint16
		want bool
	}{{"idp.internal", 443, true}, {"idp.internal.", 443, true}, {"idp.internal", 80, false}, {"OTHER.internal", 1, true}, {"x.idp.internal", 443, false}, {"", 443, false}} {
		if got := list.host(tc.host, tc.port); got != tc.want {
			t.Errorf("%s:%d: %v, want %v", tc.host, tc.port, got, tc.want)
		}
	}
}

// nameServer answers every question for an IPv4 address with addr, and those
// for IPv6 with nothing.
func nameServer(t *testing.T, addr string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ip := netip.MustParseAddr(addr).As4()
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(dnsAnswer(buf[:n], ip), from)
		}
	})
	t.Cleanup(func() { pc.Close(); wg.Wait() })
	var d net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// dnsAnswer repeats the question of q (RFC 1035 section 4.1) and answers it.
func dnsAnswer(q []byte, ip [4]byte) []byte {
	end := 12
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5 // the root, type and class
	wantsA := q[end-3] == 1
	a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
	if wantsA {
		a[7] = 1
		a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ip[0], ip[1], ip[2], ip[3])
	}
	return a
}

func TestNamesDoNotLeadInside(t *testing.T) {
	var reached atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for _, tc := range []struct{ base, resolvesTo string }{
		{"http://127.0.0.1:" + port, ""}, {"http://localhost:" + port, ""}, {"http://[::1]:" + port, ""}, {"http://[::ffff:127.0.0.1]:" + port, ""},
		{"http://0.0.0.0:" + port, ""}, {"http://169.254.169.254", ""}, {"http://10.0.0.1", ""}, {"http://[fd00:ec2::254]", ""},
		{"http://innocent.example:" + port, "127.0.0.1"}, {"http://metadata.example", "169.254.169.254"}, {"http://lan.example", "192.168.0.1"},
	} {
		t.Run(tc.base, func(t *testing.T) {
			o := TransportOptions{}
			if tc.resolvesTo != "" {
				o.Resolver = nameServer(t, tc.resolvesTo)
			}
			tr := NewTransport(o)
			defer tr.CloseIdleConnections()
			_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), registration(tc.base), credential.NewSecret("r"), nil)
			wantFailure(t, err, credential.Misconfigured, "address_refused", false)
		})
	}
	if reached.Load() {
		t.Error("the server inside was reached")
	}
}

func TestAllowedNamesAreReached(t *testing.T) {
	b := overHTTP(t)
	_, port, _ := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(b.reg.Provider.TokenURL, "http://"), "/token"))
	b.reg.Provider.TokenURL = "http://idp.example:" + port + "/token"
	for _, tc := range []struct {
		name  string
		allow []Exception
		ok    bool
	}{
		{"host", []Exception{{Host: "idp.example"}}, true}, {"prefix", loopback, true},
		{"other host", []Exception{{Host: "example"}}, false}, {"other port", []Exception{{Host: "idp.example", Port: 1}}, false},
	} {
		tr := NewTransport(TransportOptions{Allow: tc.allow, Resolver: nameServer(t, "127.0.0.1")})
		_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), b.reg, b.grant(t).RefreshToken, nil)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
		tr.CloseIdleConnections()
	}
}

// Whoever can change what an allowed name resolves to must not get at the
// metadata service of the cloud.
func TestAllowedNamesDoNotLeadToMetadata(t *testing.T) {
	list := allowlist{{Host: "idp.internal"}, {Prefix: netip.MustParsePrefix("169.254.7.0/24")}}
	for text, want := range map[string]bool{
		"10.0.0.1:443": true, "127.0.0.1:443": true, "100.64.0.1:443": true, "[fd00::1]:443": true, "8.8.8.8:443": true, "169.254.7.1:443": true,
		"169.254.169.254:80": false, "[::ffff:169.254.169.254]:80": false, "[fe80::1%eth0]:80": false, "[fd00:ec2::254]:80": false,
		"100.100.100.200:80": false, "168.63.129.16:80": false, "192.0.0.192:80": false, "0.0.0.0:80": false, "[::]:80": false, "224.0.0.1:80": false,
	} {
		if err := list.checkNamed(netip.MustParseAddrPort(text)); (err == nil) != want {
			t.Errorf("%s: %v, want allowed: %v", text, err, want)
		}
	}
	tr := NewTransport(TransportOptions{Allow: []Exception{{Host: "idp.internal"}}, Resolver: nameServer(t, "169.254.169.254")})
	defer tr.CloseIdleConnections()
	_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), registration("http://idp.internal"), credential.NewSecret("r"), nil)
	wantFailure(t, err, credential.Misconfigured, "address_refused", false)
}

func TestRedirectsNameOnlyTheHostTheyLeadTo(t *testing.T) {
	for location, want := range map[string]string{
		"https://new.example:8443/hunter2?x=hunter2#hunter2": "new.example:8443", "https://hunter2:hunter2@new.example/": "new.example",
		"/hunter2": "an address of its own", "": "an address of its own", "http://[::bad": "cannot be read", "https://hunter2\u00a0/": "cannot be read",
	} {
		rt := roundTrip(func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			return &http.Response{StatusCode: 307, Header: http.Header{"Location": {location}}, Body: http.NoBody, Request: r}, nil
		})
		_, err := New(rt, Options{}).Refresh(t.Context(), registration("https://p.example"), credential.NewSecret("r"), nil)
		f := wantFailure(t, err, credential.Misconfigured, "redirect", true)
		if !strings.Contains(f.Detail, want) || strings.Contains(f.Detail, "hunter2") {
			t.Errorf("%q: %q should name %q and nothing else of it", location, f.Detail, want)
		}
	}
}

// A redirect must not be followed even where its target could be reached.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Bool
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer target.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(target.URL, status))
		tr := NewTransport(TransportOptions{Allow: loopback})
		_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), registration(srv.URL), credential.NewSecret("r"), nil)
		f := wantFailure(t, err, credential.Misconfigured, "redirect", true)
		if !strings.Contains(f.Detail, strings.TrimPrefix(target.URL, "http://")) {
			t.Errorf("%q does not name the target", f.Detail)
		}
		tr.CloseIdleConnections()
		srv.Close()
	}
	if reached.Load() {
		t.Error("the redirect was followed")
	}
}

func TestServersAreVerified(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"a"}`))
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	old := httptest.NewUnstartedServer(srv.Config.Handler)
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	defer old.Close()
	plain := httptest.NewServer(srv.Config.Handler)
	defer plain.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	for _, tc := range []struct {
		name, base string
		roots      *x509.CertPool
		ok         bool
	}{
		{"trusted", srv.URL, trusted, true},
		{"not trusted", srv.URL, nil, false},
		{"other name", strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), trusted, false},
		{"TLS 1.1", old.URL, trusted, false},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), trusted, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := NewTransport(TransportOptions{Allow: loopback, RootCAs: tc.roots})
			defer tr.CloseIdleConnections()
			_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), registration(tc.base), credential.NewSecret("r"), nil)
			if tc.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantFailure(t, err, credential.Transient, "tls", false)
		})
	}
}

func TestConnectionsThatFailAreTransient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + ln.Addr().String()
	ln.Close()
	silent := rawServer(t, func(_ int, c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)); _, _ = c.Read(make([]byte, 1)) })
	noNames := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no name server") }}
	for _, tc := range []struct {
		name, base, code string
		o                TransportOptions
	}{
		{"refused", nobody, "connection_refused", TransportOptions{Allow: loopback}},
		{"no such name", "http://nobody.example", "dns", TransportOptions{Resolver: noNames}},
		{"handshake without an end", strings.Replace(silent, "http:", "https:", 1), "timeout", TransportOptions{Allow: loopback, TLSTimeout: 50 * time.Millisecond}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := NewTransport(tc.o)
			defer tr.CloseIdleConnections()
			_, err := New(tr, Options{}).Refresh(deadlineIn(t, 20*time.Second), registration(tc.base), credential.NewSecret("r"), nil)
			wantFailure(t, err, credential.Transient, tc.code, false)
		})
	}
}

func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	if tr := NewTransport(TransportOptions{}); tr.Proxy != nil {
		t.Error("the transport uses a proxy: the address would be the proxy's, and its check void")
	}
	if c := New(nil, Options{}); c.rt == nil {
		t.Error("without a transport net/http's own would be used")
	}
}
