package httpapi

import (
	"net/http"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire"
)

// token answers GET /v1/accounts/{account}/token. This is what grantd is asked
// all day long: it encodes by hand, into a buffer that is used again, and logs
// nothing above debug.
func (a *api) token(x *exchange) error {
	ref, err := x.accountRef(wire.PermTokensRead)
	if err != nil {
		return err
	}
	minTTL, proof, err := x.tokenQuery()
	if err != nil {
		return err
	}
	if err := x.sees(ref); err != nil {
		return err
	}
	t, err := a.Accounts.Token(&x.ctx, ref, minTTL)
	if err != nil {
		return err
	}
	if x.key.Agent != "" {
		to := credential.Handout{Agent: x.key.Agent, Key: x.key.ID, Generation: t.Generation}
		if err := a.Accounts.NoteHandout(&x.ctx, ref, to); err != nil {
			return err
		}
	}
	shown := tokenOf(t)
	if proof.Method != "" {
		if shown.DPoPProof, err = a.prove(x, ref, t, proof); err != nil {
			return err
		}
	}
	buf, _ := a.buffers.Get().(*tokenBuffer)
	if buf == nil {
		buf = &tokenBuffer{}
	}
	buf.b = shown.AppendJSON(buf.b[:0])
	x.raw(http.StatusOK, buf.b)
	a.release(buf)
	return nil
}

// tokenOf is the token as the API shows it. To its user a token of a
// client-credentials account is a token like any other.
func tokenOf(t credential.Token) wire.Token {
	out := wire.Token{Type: wire.TypeOAuth2, Generation: t.Generation, Replica: t.Replica}
	switch t.Kind {
	case credential.KindAPIKey:
		out.Type, out.APIKey = wire.TypeAPIKey, wire.Secret(t.Secret.Reveal())
	case credential.KindBasic:
		out.Type, out.Username, out.Password = wire.TypeBasic, t.Username, wire.Secret(t.Secret.Reveal())
	default:
		out.AccessToken, out.TokenType = wire.Secret(t.Secret.Reveal()), t.TokenType
		out.ExpiresAt, out.Scopes = wire.At(t.ExpiresAt), t.Scopes
	}
	return out
}

// tokenBuffer is where a token answer is put together.
type tokenBuffer struct{ b []byte }

// release wipes the buffer and keeps it for the next; a very large one is let go.
func (a *api) release(buf *tokenBuffer) {
	const most = 16 << 10
	clear(buf.b)
	if cap(buf.b) <= most {
		a.buffers.Put(buf)
	}
}

// refresh answers POST /v1/accounts/{account}/refresh. Whoever may read tokens
// may report that one was refused. The body may be left out.
func (a *api) refresh(x *exchange) error {
	ref, err := x.accountRef(wire.PermTokensRead, wire.PermAccountsWrite)
	if err != nil {
		return err
	}
	body, err := readBody(x.ResponseWriter, x.r)
	if err != nil {
		return err
	}
	var in wire.RefreshRequest
	if len(body) > 0 {
		if err := decode(body, &in); err != nil {
			return err
		}
	}
	if err := x.sees(ref); err != nil {
		return err
	}
	account, err := a.Accounts.Refresh(&x.ctx, ref, in.StaleGeneration)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, accountOf(account))
}
