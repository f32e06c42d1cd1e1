package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
)

// idleEnv makes the test binary a node over the directory that it names, for
// BenchmarkMillionIdleAccounts: memory must be measured in a process that has
// done nothing else.
const idleEnv = "GRANTD_BENCH_IDLE_NODE"

// idleReport is what that process prints.
type idleReport struct {
	RestartSeconds float64 `json:"restart_s"` // from the start of the process to the first token
	ResidentBytes  int64   `json:"resident_bytes"`
	LagSeconds     float64 `json:"lag_s"` // the largest delay of a scheduled refresh
}

// BenchmarkMillionIdleAccounts fills a node with BENCH_ACCOUNTS accounts
// (default a million) that have nothing to do for an hour, starts it again in a
// process of its own, and reports how long that takes until a token is read,
// how much is resident, and how late the refreshes of a thousand accounts begin
// that come due while the others are idle.
func BenchmarkMillionIdleAccounts(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv("BENCH_ACCOUNTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		x := startBench(b, "http://127.0.0.1/token", nil)
		each(512, n, func(i int) { x.importIdle(b, i, time.Hour) })
		x.close(b)
		r := idleNode(b, x.dir)
		b.ReportMetric(r.RestartSeconds, "restart-s")
		b.ReportMetric(float64(r.ResidentBytes)/(1<<20), "resident-MiB")
		b.ReportMetric(r.LagSeconds, "schedule-lag-s")
		b.ReportMetric(0, "ns/op")
	}
}

// importIdle imports an account of the size that real ones have.
func (x *bench) importIdle(b testing.TB, i int, lives time.Duration) {
	_, _, err := x.core.Actors.Import(context.Background(), credential.Import{
		Ref: idleRef(i), Integration: "demo", Kind: credential.KindOAuth2,
		Secret: credential.NewSecret(strings.Repeat("a", 200)), RefreshToken: credential.NewSecret(strings.Repeat("r", 100)),
		ExpiresAt: time.Now().Add(lives),
	})
	if err != nil {
		b.Error(err)
	}
}

func idleRef(i int) credential.Ref {
	return credential.Ref{Tenant: fmt.Sprintf("tenant-%d", i%100), ID: fmt.Sprintf("account-%07d", i)}
}

func idleNode(b *testing.B, dir string) (r idleReport) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), idleEnv+"="+dir), os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		b.Fatalf("the idle node failed: %v: %s", err, out)
	}
	return r
}

// runIdleNode is the main function of that process.
func runIdleNode(dir string) error {
	begin := time.Now()
	ctx := context.Background()
	kek, err := envelope.OpenKEK("file://"+filepath.Join(dir, "kek.json"), false)
	if err != nil {
		return err
	}
	core, err := Open(ctx, CoreConfig{
		Name: "n1", Dir: filepath.Join(dir, "store"), KEK: kek, Transport: http.DefaultTransport, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if _, err := core.Actors.Token(ctx, idleRef(0), 0); err != nil {
		return err
	}
	r := idleReport{RestartSeconds: time.Since(begin).Seconds()}
	x := &bench{core: core}
	const dueSoon = 1000
	for i := range dueSoon {
		x.importIdle(discardTB{}, 1_000_000_000+i, 5*time.Second)
	}
	for {
		count, _, largest := core.Actors.Counters().ScheduledLag.Values()
		if count >= dueSoon {
			r.LagSeconds = largest.Seconds()
			break
		}
		if time.Since(begin) > time.Minute {
			return fmt.Errorf("only %d of %d refreshes began", count, dueSoon)
		}
		runtime.Gosched()
		<-time.After(10 * time.Millisecond)
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		return err
	}
	r.ResidentBytes = pages * int64(os.Getpagesize())
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	return core.Close(ctx)
}

// discardTB is for code that reports to a test, outside of one.
type discardTB struct{ testing.TB }

// Error ends the process: there is no test to fail.
func (discardTB) Error(args ...any) { panic(fmt.Sprint(args...)) }
