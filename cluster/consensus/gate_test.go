package consensus

import "testing"

func TestGateWaitsForThoseInside(t *testing.T) {
	var g gate
	for range 2 {
		if !g.enter() {
			t.Fatal("an open gate refuses")
		}
	}
	empty := g.shut()
	if g.enter() {
		t.Error("a closed gate lets in")
	}
	g.leave()
	select {
	case <-empty:
		t.Error("empty with somebody inside")
	default:
	}
	g.leave()
	<-empty
	<-g.shut()
	var unused gate
	<-unused.shut()
}
