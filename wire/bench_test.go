package wire_test

import (
	"strings"
	"testing"

	"github.com/grantd/grantd/wire"
)

// BenchmarkAppendString writes a token of 1 KB, which needs no escape, and one
// that begins with a character that does not fit the fast path.
func BenchmarkAppendString(b *testing.B) {
	for name, s := range map[string]string{"plain": strings.Repeat("t", 1024), "odd": "ü" + strings.Repeat("t", 1024)} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 2048)
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				buf = wire.AppendString(buf[:0], s)
			}
		})
	}
}
