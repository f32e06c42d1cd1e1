package chaos

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/grantd/grantd/bench/strict"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/tests/witness"
)

// at is a moment of the made-up trials below.
func at(seconds float64) time.Time {
	return time.Unix(1_700_000_000, 0).UTC().Add(time.Duration(seconds * float64(time.Second)))
}

func TestRepeatedRefreshTokenIsExcusedOnlyByTroubleThatHidTheAnswer(t *testing.T) {
	asked := func(node string, seconds float64, sequence uint64, o strict.Outcome) request {
		return request{strict.Request{Received: at(seconds), Answered: at(seconds), Sequence: sequence, Outcome: o}, node}
	}
	first, replay := asked("n1", 10, 5, strict.OutcomeGranted), asked("n2", 14, 5, strict.OutcomeReplay)
	before := asked("n1", 9, 4, strict.OutcomeGranted)
	lost := first
	lost.Lost = true
	for _, c := range []struct {
		name     string
		requests []request
		troubles []trouble
		history  witness.History
		good     bool
	}{
		{"none came again", []request{first, asked("n1", 14, 6, strict.OutcomeGranted)}, nil, nil, true},
		{"while the token in hand served", []request{before, first, replay}, []trouble{{"n1", at(9), at(11), true}}, nil, false},
		{"after the token in hand was over", []request{before, first, asked("n2", 29.5, 5, strict.OutcomeReplay)}, []trouble{{"n1", at(9), at(11), true}}, nil, true},
		{"nothing was done", []request{first, replay}, nil, nil, false},
		{"the asker was killed", []request{first, replay}, []trouble{{"n1", at(9), at(11), true}}, nil, true},
		{"another node was killed", []request{first, replay}, []trouble{{"n3", at(9), at(11), true}}, nil, false},
		{"the asker was killed before", []request{first, replay}, []trouble{{"n1", at(8), at(9), true}}, nil, false},
		{"the asker was killed after", []request{first, replay}, []trouble{{"n1", at(15), at(16), true}}, nil, false},
		{"the asker was cut off", []request{first, replay}, []trouble{{"n1", at(9), at(13), false}}, nil, true},
		{"the asker was back for long", []request{first, asked("n2", 40, 5, strict.OutcomeReplay)}, []trouble{{"n1", at(9), at(13), false}}, nil, false},
		{"the answer was lost on the way", []request{lost, replay}, nil, nil, true},
		{"the answer did not come in time", []request{first, replay}, nil, witness.History{{At: at(11), What: credential.WhatRefreshFailed, Reason: credential.Ambiguous.String() + ":timeout"}}, true},
		{"a request after the grant's death", []request{asked("n1", 10, 5, strict.OutcomeReplay), asked("n1", 12, 5, strict.OutcomeDead)}, nil, nil, false},
	} {
		tr := &trial{troubles: c.troubles}
		if err := tr.judgeRepeats(&account{integration: lasting, history: c.history}, c.requests); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestTableCountsEachInterruptedRefreshOnce(t *testing.T) {
	h := witness.History{
		{What: credential.WhatCreated},
		{What: credential.WhatInterrupted, Attempt: "a"}, {What: credential.WhatSalvaged, Attempt: "a"}, {What: credential.WhatRefreshed, Attempt: "a"},
		{What: credential.WhatNeverSent, Attempt: "b"}, {What: credential.WhatRefreshed, Attempt: "c"},
		{What: credential.WhatInterrupted, Attempt: "d"}, {What: credential.WhatRetriedUncertain, Attempt: "e"}, {What: credential.WhatRefreshed, Attempt: "e"},
		{What: credential.WhatRefreshFailed, Reason: credential.Ambiguous.String() + ":timeout", Attempt: "f"}, {What: credential.WhatRetriedUncertain, Attempt: "g"},
		{What: credential.WhatOutcomeLost, Attempt: "g"}, {What: credential.WhatNeedsReauth},
	}
	var r row
	r.add(h, true)
	r.add(h, false)
	if r.interrupted != 8 || r.salvaged != 2 || r.unsent != 2 || r.survived != 2 || r.lostLasting != 1 || r.lostBrief != 1 {
		t.Errorf("counted %+v", r)
	}
}

func TestKeptAnswerMustNotBeLost(t *testing.T) {
	interrupted := witness.Line{What: credential.WhatInterrupted, Attempt: "a"}
	retried, lost := witness.Line{What: credential.WhatRetriedUncertain, Attempt: "b"}, witness.Line{What: credential.WhatOutcomeLost, Attempt: "b"}
	refreshed := witness.Line{What: credential.WhatRefreshed, Attempt: "a"}
	for want, h := range map[string]witness.History{"a": {interrupted, retried, lost}, "": {interrupted, refreshed, retried, lost}} {
		if got := lostThough(h, map[string]bool{"a": true}); got != want {
			t.Errorf("%v: %q, want %q", h, got, want)
		}
	}
	if got := lostThough(witness.History{interrupted, retried, lost}, nil); got != "" {
		t.Errorf("nothing was kept: %q", got)
	}
}

func TestLongestGapIsThatWhichTouchesTheRound(t *testing.T) {
	moments := []time.Time{at(0), at(5), at(6), at(9), at(9.5), at(20)}
	for _, c := range []struct{ from, until, want float64 }{
		{5.5, 8, 3}, {6.5, 9.2, 3}, {5.2, 5.8, 1}, {9.6, 12, 10.5}, {-2, -1, 0}, {21, 22, 0},
	} {
		if got := longestGap(moments, at(c.from), at(c.until)); got != time.Duration(c.want*float64(time.Second)) {
			t.Errorf("from %v until %v: %v, want %v s", c.from, c.until, got, c.want)
		}
	}
}

func TestOnlyWhatADeadRunLeftIsRemoved(t *testing.T) {
	const noProcess = 1 << 22 // above what the kernel gives
	for name, want := range map[string]bool{
		spacePrefix + strconv.Itoa(noProcess) + "-1-n1": true, spacePrefix + strconv.Itoa(os.Getpid()) + "-1-n1": false,
		"other-4194304-1-n1": false, spacePrefix + "x": false, "tmpfs": false,
	} {
		if tag, gone := leftover(name); gone != want || want && tag != "4194304-1" {
			t.Errorf("%s: tag %s, gone %v", name, tag, gone)
		}
	}
}
