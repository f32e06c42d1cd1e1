package tests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	crowd "github.com/grantd/grantd/bench/herd"
	"github.com/grantd/grantd/tests/process"
	"github.com/grantd/grantd/wire"
)

// The herd of the benchmark. It needs some files more than callers: ulimit -n.
const (
	herdCallers = 10_000
	herdRounds  = 5
	// providerTime is long enough that the callers come while it passes.
	providerTime = time.Second
)

// BenchmarkHerd: ten thousand callers at once ask a node, in a process of its
// own, for the token of one expired account, beside as many who ask a bare
// handler, in turns. The excess is the wait of the last caller, less the
// provider's time, over that of the bare handler's last caller.
func BenchmarkHerd(b *testing.B) {
	node, provider, key := startDev(b)
	bare := startBare(b)
	for b.Loop() {
		var last, bareLast, excess []float64
		for range herdRounds {
			base, err := crowd.Baseline(b.Context(), bare, herdCallers, herdCallers)
			if err != nil {
				b.Fatal(err)
			}
			r, err := crowd.Run(b.Context(), crowd.Config{
				Addr: node, Key: key, Provider: provider, Callers: herdCallers, ProviderDelay: providerTime,
			})
			if err != nil {
				b.Fatal(err)
			}
			if r.ProviderRequests != 1 || r.Replays != 0 || r.Failures != 0 {
				b.Errorf("%d requests to the provider, %d replays, %d failures %v; want one request", r.ProviderRequests, r.Replays, r.Failures, r.Reasons)
			}
			last, bareLast = append(last, r.Wait.Max), append(bareLast, base.Max)
			excess = append(excess, (r.Wait.Max-float64(providerTime.Milliseconds()))/base.Max)
		}
		b.ReportMetric(median(last), "last-ms")
		b.ReportMetric(median(bareLast), "bare-last-ms")
		b.ReportMetric(median(excess), "excess")
		b.ReportMetric(0, "ns/op")
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// startDev runs grantd dev, and returns the addresses of node and demo provider.
func startDev(b *testing.B) (node, provider string, key wire.Secret) {
	b.Helper()
	dir := b.TempDir()
	cmd := exec.Command(grantdBinary(b), "dev", "--data", dir, "--listen", "127.0.0.1:0", "--demo-listen", "127.0.0.1:0")
	welcome := start(b, cmd, func(line string) (string, bool) {
		for _, label := range []string{"Dashboard", "Demo provider"} {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), label); ok {
				address, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
				if label == "Dashboard" {
					node = strings.TrimSuffix(address, "/ui/")
				} else {
					provider = address
				}
			}
		}
		return "", strings.HasPrefix(line, "Ctrl-C")
	}, syscall.SIGTERM)
	admin, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err != nil || node == "" || provider == "" {
		b.Fatalf("%v; its welcome:\n%s", err, welcome.Output())
	}
	return node, provider, wire.Secret(strings.TrimSpace(string(admin)))
}

// startBare runs a bare handler that answers as a node does, and returns its
// address.
func startBare(b *testing.B) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "bare")
	if out, err := exec.Command("go", "build", "-o", bin, modulePath+"/tests/bare").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	const answer = `{"type":"oauth2","access_token":"sat_` + "0123456789012345678901234567890123456789012" + `","token_type":"Bearer","expires_at":"2026-01-01T00:00:00Z","scopes":[],"generation":2}`
	p := start(b, exec.Command(bin, answer), func(line string) (string, bool) {
		return strings.CutPrefix(line, "listening on ")
	})
	return "http://" + p.Ready + "/"
}

// start runs a program until the benchmark ends; it ends by these signals, or
// with its standard input.
func start(b *testing.B, cmd *exec.Cmd, ready func(line string) (string, bool), end ...os.Signal) *process.Process {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), startTimeout)
	defer cancel()
	p, err := process.Start(ctx, cmd, ready)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Stop(end...); err != nil {
			b.Errorf("%s did not end well: %v", cmd.Path, err)
		}
	})
	return p
}
