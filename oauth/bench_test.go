package oauth

import (
	"testing"
	"time"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
)

// BenchmarkRefresh is a whole refresh, over loopback and in process.
func BenchmarkRefresh(b *testing.B) {
	for name, bench := range map[string]bench{"http": overHTTP(b), "inprocess": inProcess(b)} {
		b.Run(name, func(b *testing.B) {
			token := bench.grant(b).RefreshToken
			b.ReportAllocs()
			for b.Loop() {
				g, err := bench.client.Refresh(b.Context(), bench.reg, token, nil)
				if err != nil {
					b.Fatal(err)
				}
				token = g.RefreshToken
			}
		})
	}
}

// BenchmarkUnderstand is an answer of 1.5 KB, as with JSON Web Tokens.
func BenchmarkUnderstand(b *testing.B) {
	token := make([]byte, 1400)
	for i := range token {
		token[i] = 'a'
	}
	a := answerOf(200, jsonType, `{"access_token":"`+string(token)+`","refresh_token":"r","expires_in":3600,"scope":"a b c","token_type":"Bearer"}`)
	b.ReportAllocs()
	for b.Loop() {
		m := parse(a.header, a.body)
		var f *credential.Failure
		if f = classify(a, m, &catalog.Provider{}, time.Time{}); f == nil {
			_, f = readGrant(a, m, &catalog.Provider{}, now)
		}
		if f != nil {
			b.Fatal(f)
		}
	}
}
