package oauth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/credential"
)

func TestAnswerMayBeReadForAWhileAfterADeadlineThatIsNoticedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithDeadline(t.Context(), began.Add(-5*time.Second))
		defer cancel()
		f := &flight{given: ctx, deadline: began.Add(-5 * time.Second)}
		f.ctx = f.follow() // of a request that was written before
		<-f.ctx.Done()
		if took := time.Since(began); took != lateness || lostCode(f, f.ctx.Err()) != codeTimeout {
			t.Errorf("it could be read for %v, then: %s", took, lostCode(f, f.ctx.Err()))
		}
		f.end()

		g := &flight{given: ctx, deadline: began.Add(-5 * time.Second)}
		g.ctx = g.follow() // of one that is about to be written
		synctest.Wait()
		if g.ctx.Err() != nil || !errors.Is(g.pass(), errTooLate) || g.ctx.Err() == nil {
			t.Error("it may be written after its deadline")
		}
		g.end()

		h := newFlight(ctx) // of one that is not begun
		if h.ctx.Err() == nil || h.pass() == nil {
			t.Error("it may begin after its deadline")
		}
		h.end()
	})
}

// stillRequests is how many requests are on their way when the process is
// stopped: each is a race between its answer and its end.
const stillRequests = 32

// A real process is stopped while the provider has its requests, and goes on
// when their time is over and the answers lie in its sockets.
func TestAnswersThatCameWhileTheProcessStoodStillAreRead(t *testing.T) {
	const life = 3 * time.Second
	var arrived atomic.Int32
	all, answer := make(chan struct{}), make(chan struct{})
	var answering sync.WaitGroup
	answering.Add(stillRequests)
	base := rawServer(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		if !readRequest(r) {
			return
		}
		if arrived.Add(1) == stillRequests {
			close(all)
		}
		<-answer
		_, _ = io.WriteString(c, rawToken)
		answering.Done()
		_, _ = r.ReadByte() // until the other end closes
	})
	cmd := exec.CommandContext(t.Context(), os.Args[0], base, life.String())
	cmd.Env = append(os.Environ(), roleVariable+"=asking")
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	<-all
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	close(answer)
	answering.Wait()
	<-time.After(life + time.Second) // until the time of all of them is over
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	said, readErr := io.ReadAll(out)
	if err := errors.Join(readErr, cmd.Wait()); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	if kept, _ := strconv.Atoi(strings.TrimSpace(string(said))); kept != stillRequests {
		t.Errorf("of %d answers these were kept: %s", stillRequests, said)
	}
}

// askAll is the process that is stopped: it refreshes at base, many times at
// once, and prints how many answers it got.
func askAll(base, life string) error {
	d, err := time.ParseDuration(life)
	if err != nil {
		return err
	}
	tr := NewTransport(TransportOptions{Allow: loopback})
	defer tr.CloseIdleConnections()
	client := New(tr, Options{})
	var kept atomic.Int32
	var all sync.WaitGroup
	for range stillRequests {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			if _, err := client.Refresh(ctx, registration(base), credential.NewSecret("r"), nil); err == nil {
				kept.Add(1)
			}
		})
	}
	all.Wait()
	fmt.Println(kept.Load())
	return nil
}
