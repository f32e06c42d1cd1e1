package herd

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Result is what a run measured.
type Result struct {
	Callers  int `json:"callers"`
	Accounts int `json:"accounts"`
	// ProviderRequests are the refresh requests that reached the provider for
	// the run's accounts, by its own record. One for each account is the ideal.
	ProviderRequests int `json:"provider_requests"`
	// Replays are refresh tokens among them that had been used up before.
	Replays int `json:"replays"`
	// Failures are callers who got no token, or one that the provider refuses.
	Failures int   `json:"failures"`
	Wait     Waits `json:"wait_ms"`

	// Reasons say why callers failed, and how often: a problem code of the
	// node, or a word of ours.
	Reasons map[string]int `json:"-"`
	// Took is the time from the start of the herd to the last answer.
	Took time.Duration `json:"-"`
}

// Waits are how long callers waited for their token, in milliseconds from the
// moment when all of them started.
type Waits struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// waitsOf takes the quantiles of what was measured, by the nearest-rank method.
func waitsOf(all []time.Duration) Waits {
	if len(all) == 0 {
		return Waits{}
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(q float64) float64 {
		i := int(math.Ceil(q*float64(len(sorted)))) - 1
		return math.Round(sorted[max(0, i)].Seconds()*1e5) / 100 // two digits after the point
	}
	return Waits{P50: at(0.50), P99: at(0.99), Max: at(1)}
}

// String renders the result as a table for people, without colours. It ends
// with a line break.
func (r Result) String() string {
	rows := [][2]string{
		{"callers", thousands(r.Callers)},
		{"accounts", thousands(r.Accounts)},
		{"requests to the provider", thousands(r.ProviderRequests)},
		{"replayed refresh tokens", thousands(r.Replays)},
		{"failures", thousands(r.Failures)},
		{"wait p50", millis(r.Wait.P50)},
		{"wait p99", millis(r.Wait.P99)},
		{"wait max", millis(r.Wait.Max)},
	}
	width := 0
	for _, row := range rows {
		width = max(width, len(row[1]))
	}
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%-26s%*s\n", row[0], width, row[1])
	}
	byCount := slices.SortedFunc(maps.Keys(r.Reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Reasons[b], r.Reasons[a]), cmp.Compare(a, b))
	})
	for _, reason := range byCount {
		fmt.Fprintf(&b, "  failed: %-16s%*s\n", reason, width, thousands(r.Reasons[reason]))
	}
	return b.String()
}

func millis(ms float64) string { return fmt.Sprintf("%.1f ms", ms) }

// thousands writes n in groups of three digits.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
