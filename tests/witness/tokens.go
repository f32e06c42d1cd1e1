package witness

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
)

// Place is a token's place among those of its grant.
type Place struct {
	Grant    string
	Sequence uint64
}

// Tokens knows every token that a provider gave away, and which came together.
// Safe for concurrent use.
type Tokens struct {
	provider *strict.Provider

	mu     sync.Mutex
	texts  []string
	paired map[Place]uint64 // place of an access token -> that of the refresh token in the same answer
}

// NewTokens knows of the tokens of a provider that it is told of.
func NewTokens(p *strict.Provider) *Tokens {
	return &Tokens{provider: p, paired: map[Place]uint64{}}
}

// Watch returns the provider's handler, whose answers are looked at.
func (t *Tokens) Watch() http.Handler {
	handler := t.provider.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &copied{ResponseWriter: w}
		handler.ServeHTTP(c, r)
		var given struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if json.Unmarshal(c.body.Bytes(), &given) == nil && given.Access != "" {
			t.gave(given.Access, given.Refresh)
		}
	})
}

// NewGrant makes a grant, as a person does who authorises.
func (t *Tokens) NewGrant(client, user string) (strict.Tokens, error) {
	g, err := t.provider.NewGrant(client, user, nil)
	if err == nil {
		t.gave(g.AccessToken.Reveal(), g.RefreshToken.Reveal())
	}
	return g, err
}

func (t *Tokens) gave(access, refresh string) {
	grant, accessPlace, _ := t.provider.GrantOf(credential.NewSecret(access))
	_, refreshPlace, _ := t.provider.GrantOf(credential.NewSecret(refresh))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.texts = append(t.texts, access, refresh)
	t.paired[Place{grant, accessPlace}] = refreshPlace
}

// Texts returns the text of every token that was given away.
func (t *Tokens) Texts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.texts)
}

// CameWith returns the place of the refresh token that came with an access token.
func (t *Tokens) CameWith(access Place) (refresh uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	refresh, ok = t.paired[access]
	return refresh, ok
}

// copied is a response, and a copy of its body.
type copied struct {
	http.ResponseWriter
	body bytes.Buffer
}

// Write implements http.ResponseWriter.
func (c *copied) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}
