package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/grantd/grantd/credential"
)

// token has the size of a large access token.
var token = strings.Repeat("t", 1024)

func rawGCM(b *testing.B) cipher.AEAD {
	b.Helper()
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	return gcm
}

// BenchmarkOpen compares opening a token of 1 KB with what the cipher alone
// costs.
func BenchmarkOpen(b *testing.B) {
	b.Run("envelope", func(b *testing.B) {
		s, _ := newSealer(b)
		sealed, err := s.Seal(b.Context(), label, credential.NewSecret(token))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Open(b.Context(), label, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		gcm, data := rawGCM(b), fieldData(label)
		nonce := make([]byte, gcm.NonceSize())
		sealed := gcm.Seal(nil, nonce, []byte(token), data)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := gcm.Open(nil, nonce, sealed, data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSeal compares sealing it.
func BenchmarkSeal(b *testing.B) {
	b.Run("envelope", func(b *testing.B) {
		s, _ := newSealer(b)
		secret := credential.NewSecret(token)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Seal(b.Context(), label, secret); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		gcm, data := rawGCM(b), fieldData(label)
		nonce := make([]byte, gcm.NonceSize())
		b.ReportAllocs()
		for b.Loop() {
			_, _ = rand.Read(nonce)
			gcm.Seal(nil, nonce, []byte(token), data)
		}
	})
}
