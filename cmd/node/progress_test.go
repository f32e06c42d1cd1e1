package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressIsDrawnAndCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := startProgress(&out)
		b.set("herd", 1, 4)
		b.set("herd", 2, 4)
		time.Sleep(10 * progressInterval) // virtual time
		b.stop()
		want := clearLine + "herd     [###############---------------] 2/4" + clearLine
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
	var none *progressBar
	none.set("herd", 1, 2)
	none.stop()
}

func TestProgressBarIsNeverLongerThanItsWidth(t *testing.T) {
	for _, s := range []progressState{{"x", 5, 3}, {"x", -1, 3}, {"x", 0, 0}, {"x", 3, 3}} {
		if n := strings.Count(s.String(), "#") + strings.Count(s.String(), "-"); n < progressWidth || n > progressWidth+1 {
			t.Errorf("%+v: %s", s, s)
		}
	}
}
