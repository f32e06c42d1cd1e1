package kill

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/grantd/grantd/credential"
)

// tally is what came of the deaths of one cause.
type tally struct {
	kills       int
	interrupted int // claims found without an outcome
	salvaged    int // claims whose answer was found in the journal
	retried     int // refresh tokens presented once more
	survived    int // of them, those that still worked
	lost        int // and those that did not
}

// tallies counts by cause. What a history tells after a death is put down to
// the death that interrupted the refresh, however many came after it.
func (tr *trial) tallies() (total tally, by map[cause]*tally) {
	by = map[cause]*tally{}
	for _, c := range causes() {
		by[c] = &tally{}
	}
	for _, l := range tr.lives {
		by[l.cause].kills++
	}
	for _, a := range tr.accounts {
		now, retried := &tally{}, false // what was not interrupted by a death is not in the table
		for _, l := range a.history {
			switch l.What {
			case credential.WhatInterrupted, credential.WhatSalvaged:
				if death, ok := tr.deathBefore(l.At); ok {
					now = by[death.cause]
				}
			}
			switch l.What {
			case credential.WhatInterrupted:
				now.interrupted++
			case credential.WhatSalvaged:
				now.salvaged++
				retried = false
			case credential.WhatRetriedUncertain:
				now.retried++
				retried = true
			case credential.WhatRefreshed:
				if retried {
					now.survived++
				}
				now, retried = &tally{}, false
			case credential.WhatOutcomeLost:
				now.lost++
				now, retried = &tally{}, false
			}
		}
	}
	for _, t := range by {
		total.kills += t.kills
		total.interrupted += t.interrupted
		total.salvaged += t.salvaged
		total.retried += t.retried
		total.survived += t.survived
		total.lost += t.lost
	}
	return total, by
}

// table shows the tallies.
func table(total tally, by map[cause]*tally) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name any, t tally) {
		fmt.Fprintf(w, "%v\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, t.kills, t.interrupted, t.salvaged, t.retried, t.survived, t.lost)
	}
	fmt.Fprintln(w, "killed at\tkills\tinterrupted\tsalvaged\tretried\tsurvived\tlost\t")
	for _, c := range causes() {
		row(c, *by[c])
	}
	row("all", total)
	_ = w.Flush()
	return b.String()
}
