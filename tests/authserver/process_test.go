package authserver

import (
	"net"
	"os/exec"
	"strings"
	"testing"
)

func TestNoServerOutlivesItsStop(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			cmd, err := command(kind)
			if err != nil {
				t.Fatal(err)
			}
			cmd.Env = append(cmd.Environ(), "LISTEN=127.0.0.1:0")
			p, err := startProcess(t.Context(), cmd)
			if err != nil {
				t.Fatal(err)
			}
			if err := dial(p.addr); err != nil {
				t.Errorf("nobody listens where it says: %v", err)
			}
			p.stop()
			if dial(p.addr) == nil {
				t.Errorf("it still listens at %s", p.addr)
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

func TestServerThatEndsAtOnceIsAnErrorWithItsLastWords(t *testing.T) {
	_, err := startProcess(t.Context(), exec.Command("go", "run", "./no-such-server"))
	if err == nil || !strings.Contains(err.Error(), "no-such-server") {
		t.Errorf("got %v, want what the program said", err)
	}
}

func TestOutputIsBoundedAndTheAddressIsFoundInIt(t *testing.T) {
	out := newTail()
	for _, part := range []string{"warming up\nlist", "ening 127.0.0.1:", "4242"} {
		if _, err := out.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		select {
		case addr := <-out.listening:
			t.Fatalf("the address %q was taken from a line without an end", addr)
		default:
		}
	}
	long := "\n" + strings.Repeat("x", tailBytes) + "end"
	if _, err := out.Write([]byte(long)); err != nil {
		t.Fatal(err)
	}
	if got := <-out.listening; got != "127.0.0.1:4242" {
		t.Errorf("the address is %q", got)
	}
	if s := out.String(); len(s) != tailBytes || !strings.HasSuffix(s, "xend") {
		t.Errorf("kept %d bytes ending in %q, want the last %d", len(s), s[max(0, len(s)-8):], tailBytes)
	}
}
