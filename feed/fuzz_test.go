package feed_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grantd/grantd/feed"
)

// FuzzPosition: whatever is not a position is refused, and what is one says the
// same when it is written again.
func FuzzPosition(f *testing.F) {
	f.Add([]byte{1, 3, 0, 5, 200, 1})
	f.Add([]byte{1, 3, 0, 5})
	f.Add([]byte{2, 3})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := feed.DecodePosition(b, 3)
		if err != nil {
			if !errors.Is(err, feed.ErrPosition) {
				t.Errorf("%x: %v", b, err)
			}
			return
		}
		twice, err := feed.DecodePosition(again, 3)
		if err != nil || !bytes.Equal(again, twice) || len(again) > len(b) {
			t.Errorf("%x became %x, then %x, %v", b, again, twice, err)
		}
	})
}
