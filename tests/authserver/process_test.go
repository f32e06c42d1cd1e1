package authserver

import (
	"net"
	"testing"

	"github.com/grantd/grantd/tests/process"
)

func TestNoServerOutlivesItsStop(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			cmd, err := command(kind)
			if err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(cmd.Environ(), "LISTEN=127.0.0.1:0")
			p, err := process.Start(t.Context(), cmd, listeningAddr)
			if err != nil {
				t.Fatal(err)
			}
			if err := dial(p.Ready); err != nil {
				t.Errorf("nobody listens where it says: %v", err)
			}
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
			if dial(p.Ready) == nil {
				t.Errorf("it still listens at %s", p.Ready)
			}
		})
	}
}

func dial(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
