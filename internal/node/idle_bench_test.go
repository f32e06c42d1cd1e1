package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	RestartSeconds float64 `json:"restart_s"` // from the start of the node to the first token
	LagSeconds     float64 `json:"lag_s"`     // the largest delay of a scheduled refresh
	ResidentMiB    float64 `json:"resident_mib"`
	PeakMiB        float64 `json:"peak_mib"`
}

// BenchmarkMillionIdleAccounts fills a node with BENCH_ACCOUNTS accounts
// (default a million) that have nothing to do for an hour, and starts it again
// in a process of its own. It reports how long the import takes, how many
// actors and how much memory it leaves; how long the other process takes until
// a token is read; how late the refreshes of a thousand accounts begin that
// come due while the others are idle; and how much is resident meanwhile.
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
		begin := time.Now()
		each(512, n, func(i int) { x.importIdle(b, i, time.Hour) })
		b.ReportMetric(time.Since(begin).Seconds(), "fill-s")
		b.ReportMetric(float64(x.core.Actors.Counters().Actors.Load()), "fill-actors")
		_, peak, err := memory()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(peak, "fill-peak-MiB")
		x.close(b)
		r := idleNode(b, x.dir)
		b.ReportMetric(r.RestartSeconds, "restart-s")
		b.ReportMetric(r.LagSeconds, "schedule-lag-s")
		b.ReportMetric(r.ResidentMiB, "resident-MiB")
		b.ReportMetric(r.PeakMiB, "peak-MiB")
		b.ReportMetric(0, "ns/op")
	}
}

// memory returns how much of this process is resident, and how much was at most.
func memory() (nowMiB, peakMiB float64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			nowMiB = kib / 1024
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			peakMiB = kib / 1024
		}
	}
	return nowMiB, peakMiB, nil
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
		Name: "n1", Dir: filepath.Join(dir, "store"), KEK: kek, Transport: obliging{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if _, err := core.Actors.Token(ctx, idleRef(0), 0); err != nil {
		return err
	}
	r := idleReport{RestartSeconds: time.Since(begin).Seconds()}
	if r.LagSeconds, err = scheduleLag(core); err != nil {
		return err
	}
	if r.ResidentMiB, r.PeakMiB, err = memory(); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	return core.Close(ctx)
}

// scheduleLag imports a thousand accounts that come due within seconds, and
// returns by how much the refresh of the last one was late.
func scheduleLag(core *Core) (seconds float64, err error) {
	x := &bench{core: core}
	const dueSoon = 1000
	each(64, dueSoon, func(i int) { x.importIdle(discardTB{}, 1_000_000_000+i, 5*time.Second) })
	for deadline := time.Now().Add(time.Minute); ; {
		count, _, largest := core.Actors.Counters().ScheduledLag.Values()
		if count >= dueSoon {
			return largest.Seconds(), nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("only %d of %d refreshes began", count, dueSoon)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// obliging is a provider in the process that gives everybody a new grant.
type obliging struct{}

// RoundTrip implements http.RoundTripper.
func (obliging) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return nil, err
	}
	const grant = `{"access_token":"a","refresh_token":"r","token_type":"Bearer","expires_in":3600}`
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(grant)), ContentLength: int64(len(grant)),
	}, nil
}

// discardTB is for code that reports to a test, outside of one.
type discardTB struct{ testing.TB }

// Error ends the process: there is no test to fail.
func (discardTB) Error(args ...any) { panic(fmt.Sprint(args...)) }
