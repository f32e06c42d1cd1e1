package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/witness"
)

// row is what came of one fault.
type row struct {
	fault       fault
	runs        int
	interrupted int // refreshes whose outcome was not known when the account was looked at again
	salvaged    int // whose answer was found
	unsent      int // that had surely not been sent, and began anew
	survived    int // whose refresh token was presented once more, and still worked
	lostLasting int // and those where it did not, by how long a token lives
	lostBrief   int
	gaps        []time.Duration
	reads       int64 // of tokens with time left
	failedReads int64
}

// row adds up a trial of one fault.
func (tr *trial) row() row {
	r := row{fault: tr.strikes[0].fault, runs: len(tr.strikes), reads: tr.load.reads.Load()}
	for _, a := range tr.accounts {
		r.add(a.history, a.integration == lasting)
	}
	granted := tr.grantedAt()
	for _, s := range tr.strikes {
		r.failedReads += s.failedReads
		var worst time.Duration
		for _, shard := range s.owned {
			worst = max(worst, longestGap(granted[shard], s.from, s.until))
		}
		r.gaps = append(r.gaps, worst)
	}
	return r
}

// add adds what a history tells of interrupted refreshes.
func (r *row) add(h witness.History, isLasting bool) {
	open, retried := map[string]bool{}, false
	for _, l := range h {
		switch {
		case l.What == credential.WhatInterrupted, l.What == credential.WhatNeverSent, l.What == credential.WhatSalvaged, isAmbiguous(l):
			if !open[l.Attempt] {
				open[l.Attempt] = true
				r.interrupted++
			}
		}
		switch l.What {
		case credential.WhatNeverSent:
			r.unsent++
		case credential.WhatSalvaged:
			r.salvaged++
			retried = false
		case credential.WhatRetriedUncertain:
			retried = true
		case credential.WhatRefreshed:
			if retried {
				r.survived++
			}
			retried = false
		case credential.WhatOutcomeLost:
			if isLasting {
				r.lostLasting++
			} else {
				r.lostBrief++
			}
			retried = false
		}
	}
}

// grantedAt lists, by shard, when the provider got the refresh requests that it
// granted: a node that sends one has a majority.
func (tr *trial) grantedAt() [shards][]time.Time {
	var all [shards][]time.Time
	record := tr.provider.refreshes()
	for _, a := range tr.accounts {
		for _, id := range a.grants {
			for _, r := range record[id] {
				if r.Outcome == strict.OutcomeGranted || r.Outcome == strict.OutcomeGrace {
					all[a.shard] = append(all[a.shard], r.Received)
				}
			}
		}
	}
	for _, at := range all {
		slices.SortFunc(at, time.Time.Compare)
	}
	return all
}

// longestGap returns the longest time without any of the moments, of those that
// began before until and ended after from.
func longestGap(moments []time.Time, from, until time.Time) (longest time.Duration) {
	for i := 1; i < len(moments); i++ {
		if moments[i].After(from) && moments[i-1].Before(until) {
			longest = max(longest, moments[i].Sub(moments[i-1]))
		}
	}
	return longest
}

// table shows the rows as docs/reliability.md has them.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| fault | runs | interrupted | salvaged | not sent | tried again, good | lost, tokens of 20 s | lost, of 4 s | without refreshes, median | worst | failed reads |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		slices.Sort(r.gaps)
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %s | %s | %d of %d |\n", r.fault.what, r.runs, r.interrupted, r.salvaged, r.unsent, r.survived, r.lostLasting, r.lostBrief,
			seconds(r.gaps[len(r.gaps)/2]), seconds(r.gaps[len(r.gaps)-1]), r.failedReads, r.reads)
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
