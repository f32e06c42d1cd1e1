package issue

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	end   = start.AddDate(1, 0, 0)
)

func parse(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificatesSayWhoTheHolderIs(t *testing.T) {
	first, err := New(start, end)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := Load(first.Pair()) // as the next run does
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Pair().Cert)
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, c := range []struct {
		uri   string
		make  func(string, time.Time, time.Time) (Pair, error)
		may   []x509.ExtKeyUsage
		never []x509.ExtKeyUsage
	}{
		{"grantd://node/n1", ca.Node, []x509.ExtKeyUsage{server, client}, nil},
		{"grantd://client/n1", ca.Client, []x509.ExtKeyUsage{client}, []x509.ExtKeyUsage{server}},
	} {
		pair, err := c.make("n1", start, end.AddDate(5, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		cert := parse(t, pair)
		if len(cert.URIs) != 1 || cert.URIs[0].String() != c.uri {
			t.Errorf("URIs %v instead of %s", cert.URIs, c.uri)
		}
		if cert.NotAfter.After(ca.Ends()) {
			t.Errorf("%s outlives its authority", c.uri)
		}
		opts := x509.VerifyOptions{Roots: roots, CurrentTime: start.Add(time.Hour)}
		for _, u := range c.may {
			opts.KeyUsages = []x509.ExtKeyUsage{u}
			if _, err := cert.Verify(opts); err != nil {
				t.Errorf("%s for usage %d: %v", c.uri, u, err)
			}
		}
		for _, u := range c.never {
			opts.KeyUsages = []x509.ExtKeyUsage{u}
			if _, err := cert.Verify(opts); err == nil {
				t.Errorf("%s serves for usage %d", c.uri, u)
			}
		}
		if _, err := c.make("a/b", start, end); err == nil {
			t.Error("a name with a slash got a certificate")
		}
	}
}

func TestAuthorityIsLoadedOnlyWhole(t *testing.T) {
	ca, err := New(start, end)
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(start, end)
	if err != nil {
		t.Fatal(err)
	}
	node, err := ca.Node("n1", start, end)
	if err != nil {
		t.Fatal(err)
	}
	for want, p := range map[string]Pair{
		"no PEM block CERTIFICATE":    {Cert: []byte("x"), Key: ca.Pair().Key},
		"no PEM block EC PRIVATE KEY": {Cert: ca.Pair().Cert},
		"does not belong":             {Cert: ca.Pair().Cert, Key: other.Pair().Key},
		"is no authority's":           node,
	} {
		if _, err := Load(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v instead of %q", err, want)
		}
	}
}
