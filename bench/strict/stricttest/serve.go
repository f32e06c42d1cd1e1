// Package stricttest serves a strict provider for the length of a test.
package stricttest

import (
	"context"
	"net"
	"testing"

	"github.com/grantd/grantd/bench/strict"
)

// Serve runs a provider on a port of its own until the test ends, and returns
// it with its address, such as http://127.0.0.1:34567.
func Serve(t testing.TB, o strict.Options) (*strict.Provider, string) {
	t.Helper()
	p, err := strict.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		p.Close()
	})
	return p, "http://" + ln.Addr().String()
}
