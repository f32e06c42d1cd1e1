package exchange_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/wire/exchange"
	"github.com/grantd/grantd/wire/rpcpb"
)

// TestARequestMayEndInTheInstantInWhichItIsRefused: the caller's time is over
// just when the connection fails. It happens to many at once, so that some see
// the one first and some the other.
func TestARequestMayEndInTheInstantInWhichItIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := exchange.NewClient(exchange.ClientConfig{Dial: func(context.Context) (net.Conn, error) {
			time.Sleep(time.Second)
			return nil, errors.New("connection refused")
		}})
		defer c.Close()
		for range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.Do(ctx, &rpcpb.Request{}); !errors.Is(err, exchange.ErrNotSent) {
				t.Errorf("answered %v", err)
			}
			cancel()
			time.Sleep(time.Minute) // past the pause after a failure
		}
	})
}
