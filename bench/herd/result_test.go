package herd

import (
	"encoding/json"
	"testing"
	"time"
)

func TestWaitsAreNearestRanks(t *testing.T) {
	var all []time.Duration
	for i := 1000; i >= 1; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	if got, want := waitsOf(all), (Waits{500, 990, 1000}); got != want {
		t.Errorf("waits of 1 to 1000 ms are %+v, want %+v", got, want)
	}
	if got, want := waitsOf([]time.Duration{1234567}), (Waits{1.23, 1.23, 1.23}); got != want {
		t.Errorf("waits of one are %+v, want %+v", got, want)
	}
	if got := waitsOf(nil); got != (Waits{}) {
		t.Errorf("waits of none are %+v", got)
	}
}

func TestResultHasTheShapeOfTheContract(t *testing.T) {
	b, err := json.Marshal(Result{Callers: 1000, Accounts: 1, ProviderRequests: 1, Wait: Waits{1.5, 2, 3}, Reasons: map[string]int{"x": 1}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"callers":1000,"accounts":1,"provider_requests":1,"replays":0,"failures":0,"wait_ms":{"p50":1.5,"p99":2,"max":3}}`
	if string(b) != want {
		t.Errorf("marshals as %s, want %s", b, want)
	}
}

func TestTableOfAResult(t *testing.T) {
	r := Result{Callers: 10000, Accounts: 1, ProviderRequests: 1, Failures: 3, Wait: Waits{250.04, 310, 1333.37}, Reasons: map[string]int{"timeout": 1, "no_quorum": 2}}
	const want = `callers                      10,000
accounts                          1
requests to the provider          1
replayed refresh tokens           0
failures                          3
wait p50                   250.0 ms
wait p99                   310.0 ms
wait max                  1333.4 ms
  failed: no_quorum               2
  failed: timeout                 1
`
	if got := r.String(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}
