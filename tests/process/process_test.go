package process

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// afterColon is ready at a line "ready: VALUE".
func afterColon(line string) (string, bool) { return strings.CutPrefix(line, "ready: ") }

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func TestProgramIsReadyWhenItsLineIsWholeAndGoneWhenStopped(t *testing.T) {
	p, err := Start(t.Context(), shell("echo warming up; printf 'read'; printf 'y: 42'; echo; cat; exit 0"), afterColon)
	if err != nil {
		t.Fatal(err)
	}
	if p.Ready != "42" || !strings.Contains(p.Output(), "warming up\n") {
		t.Errorf("ready with %q, output %q", p.Ready, p.Output())
	}
	select {
	case <-p.Ended():
		t.Error("it ended by itself")
	default:
	}
	if err := p.Stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	select {
	case <-p.Ended():
	default:
		t.Error("it was stopped and is not gone")
	}
}

func TestProgramThatEndsEarlyIsAnErrorWithItsLastWords(t *testing.T) {
	_, err := Start(t.Context(), shell("echo no such file; exit 3"), afterColon)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

func TestWholeOutputGoesWhereTheCommandWantsIt(t *testing.T) {
	var all bytes.Buffer
	cmd := shell("head -c 100000 /dev/zero; echo; echo 'ready: now' >&2; cat; echo the end >&2")
	cmd.Stdout = &all
	p, err := Start(t.Context(), cmd, afterColon)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if out := all.String(); len(out) < 100000 || !strings.HasSuffix(out, "the end\n") || len(p.Output()) > tailBytes {
		t.Errorf("the command's own writer got %d bytes", len(out))
	}
}

func TestProgramThatIsNeverReadyIsEnded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, exec.Command("sleep", "600"), afterColon); err == nil {
		t.Fatal("it was taken for ready")
	} // goleak finds it if it is still there
}

func TestStopTellsHowTheProgramEnded(t *testing.T) {
	p, err := Start(t.Context(), shell("echo 'ready: now'; cat; exit 4"), afterColon)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("got %v", err)
	}
}

func TestKeptOutputIsBounded(t *testing.T) {
	out := newTail(afterColon)
	for _, part := range []string{"ready", ": 1", strings.Repeat("x", tailBytes), "end"} {
		if _, err := out.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		select {
		case v := <-out.found:
			t.Fatalf("%q was taken from a line without an end", v)
		default:
		}
	}
	if s := out.String(); len(s) != tailBytes || !strings.HasSuffix(s, "xend") {
		t.Errorf("kept %d bytes, want the last %d", len(s), tailBytes)
	}
}
