package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/oauth/clientkey"
)

// maxNonce is the longest nonce that is taken from a server, in bytes, and
// maxNonces bounds of how many servers they are kept.
const (
	maxNonce  = 1 << 10
	maxNonces = 1024
)

// Proof says what a DPoP proof is for (RFC 9449 section 4.2).
type Proof struct {
	Method      string            // of the HTTP request
	URL         string            // of the HTTP request; query and fragment are left out of the proof
	Nonce       string            // that the server gave; empty: none
	AccessToken credential.Secret // that the request presents; empty: none
}

// Prove signs a proof that whoever sends the request holds the key that its
// token is bound to. A proof is good for one request, for about a minute. The
// error tells what is wrong with the proof, as credential.ErrInvalid, and shows
// no secret.
func Prove(k *clientkey.Key, p Proof) (string, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || p.Method == "" || len(p.Nonce) > maxNonce {
		return "", credential.ErrInvalid
	}
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	claims := map[string]any{"htm": p.Method, "htu": u.String(), "jti": rand.Text(), "iat": time.Now().Unix()}
	if p.Nonce != "" {
		claims["nonce"] = p.Nonce
	}
	if !p.AccessToken.IsZero() {
		sum := sha256.Sum256([]byte(p.AccessToken.Reveal()))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return k.SignEmbedded(claims, map[string]any{"typ": "dpop+jwt"})
}

// bound reports whether tokens are bound to a key of the client.
func (reg Registration) bound() bool { return reg.Provider.DPoP == catalog.DPoPRequired }

// prove adds the proof that the token end point wants.
func (c call) prove(header http.Header, u *url.URL) *credential.Failure {
	if c.reg.DPoPKey == nil {
		return misconfigured("no_dpop_key", "the provider binds tokens to a key and the integration has none yet; send it with PUT once more, which makes one")
	}
	proof, err := Prove(c.reg.DPoPKey, Proof{Method: c.verb(), URL: u.String(), Nonce: c.nonce})
	if err != nil {
		return unsigned(err)
	}
	header.Set("DPoP", proof)
	return nil
}

// sendProven sends a request in which tokens are asked for or presented, with a
// proof where they are bound to a key.
func (c *Client) sendProven(ctx context.Context, call call) (answer, *credential.Failure) {
	if !call.reg.bound() {
		return c.send(ctx, call)
	}
	return c.sendBound(ctx, call)
}

// sendBound sends a request with a proof of possession. A server may ask
// for a nonce of its own in it (RFC 9449 section 8): it refuses the request with
// use_dpop_nonce before it looks at the grant, and the request is sent once
// more, with the nonce.
//
// That does not break the promise that a token request is written at most once:
// the first was answered, with a refusal that says that nothing was done. A
// request without an answer is never repeated here.
func (c *Client) sendBound(ctx context.Context, call call) (answer, *credential.Failure) {
	u, failure := call.target()
	if failure != nil {
		return answer{}, failure
	}
	call.bound, call.nonce = call.auth != catalog.RevokeByToken, c.nonces.get(u.Host)
	a, failure := c.send(ctx, call)
	if failure != nil {
		return a, failure
	}
	given := a.header.Get("DPoP-Nonce")
	if given == "" || len(given) > maxNonce || strings.ContainsFunc(given, notVSCHAR) {
		return a, nil
	}
	c.nonces.put(u.Host, given)
	if !wantsNonce(a) || given == call.nonce {
		return a, nil
	}
	call.nonce = given
	if a, failure = c.send(ctx, call); failure == nil {
		if next := a.header.Get("DPoP-Nonce"); next != "" && len(next) <= maxNonce && !strings.ContainsFunc(next, notVSCHAR) {
			c.nonces.put(u.Host, next)
		}
	}
	return a, failure
}

// wantsNonce reports whether a request was refused for the lack of a nonce, and
// for nothing else.
func wantsNonce(a answer) bool {
	if a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized {
		return false
	}
	const wanted = "use_dpop_nonce"
	if strings.Contains(a.header.Get("WWW-Authenticate"), wanted) { // an API's way to say it (RFC 9449 section 9)
		return true
	}
	code, _ := parse(a.header, a.body).fields.text("error")
	return code == wanted
}

// nonces are the newest nonces of servers, by host. It is safe for concurrent use.
type nonces struct {
	mu sync.Mutex
	of map[string]string
}

func (n *nonces) get(host string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[host]
}

// put keeps a nonce. Where there are too many another one goes: it costs its
// server one refusal more.
func (n *nonces) put(host, nonce string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = make(map[string]string)
	}
	if _, known := n.of[host]; !known && len(n.of) >= maxNonces {
		for other := range n.of {
			delete(n.of, other)
			break
		}
	}
	n.of[host] = nonce
}

// signJSON signs the claims as a JWT.
func signJSON(signer jose.Signer, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
