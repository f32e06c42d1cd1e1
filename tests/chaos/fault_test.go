package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/grantd/grantd/actors"
)

// fault is a way to break a cluster, and to mend it.
type fault struct {
	name string // of the subtest
	what string // for the table
	// smallDisks: the nodes' data lies on file systems that can be filled.
	smallDisks bool
	// everywhere: no node is left, so that nothing can be read for a while.
	everywhere bool
	strike     func(r *round) error
}

// faults are all of them, in the order of the table.
func faults() []fault {
	var all []fault
	for _, p := range actors.Points() {
		all = append(all, fault{
			name: "killed_" + string(p), what: "owner killed: " + pointText(p),
			strike: func(r *round) error { return r.killAt(fmt.Sprintf("%s:%d", p, 1+r.rng.IntN(passes))) },
		})
		if p == actors.PointSettling { // the journal is written while the account stands before its commit
			all = append(all, fault{
				name: "killed_journalled", what: "owner killed: answer in its journal, outcome not proposed",
				strike: func(r *round) error {
					return r.killAt(fmt.Sprintf("%s:%d:%v", p, 1+r.rng.IntN(passes), journalTime))
				},
			})
		}
	}
	return append(all,
		fault{name: "killed", what: "owner killed at any time", strike: (*round).killed},
		fault{name: "cut", what: "owner cut off from the other nodes", strike: func(r *round) error { return r.cut(both) }},
		fault{name: "cut_inbound", what: "owner hears nothing from the other nodes", strike: func(r *round) error { return r.cut(inbound) }},
		fault{name: "cut_outbound", what: "nothing from the owner reaches the other nodes", strike: func(r *round) error { return r.cut(outbound) }},
		fault{name: "unplugged", what: "owner cut off from everything, the provider too", strike: (*round).unplug},
		fault{name: "paused", what: "owner stopped (SIGSTOP) past every time-out, then let go on", strike: (*round).pause},
		fault{name: "disk_full", what: "owner's disk full", smallDisks: true, strike: (*round).diskFull},
		fault{name: "fsync_fails", what: "owner's fsync fails", strike: func(r *round) error { return r.diskFault("fail", "disk fault") }},
		fault{name: "fsync_hangs", what: "owner's fsync hangs", strike: func(r *round) error { return r.diskFault("hang", "disk stalled") }},
		fault{name: "all_killed", what: "all nodes killed at once", everywhere: true, strike: (*round).killAll},
	)
}

func pointText(p actors.Point) string {
	return map[actors.Point]string{
		actors.PointBeforeClaim: "before the claim", actors.PointClaimed: "claim committed", actors.PointSending: "request being sent",
		actors.PointAnswered: "answer read", actors.PointSettling: "outcome being proposed", actors.PointSettled: "outcome committed, callers not told",
	}[p]
}

const (
	// passes bounds how often a point is passed before the node dies at it.
	passes = 20
	// journalTime is enough to write a line of the journal.
	journalTime = 50 * time.Millisecond
	// deathTimeout bounds how long a fault may take to end the process.
	deathTimeout = 30 * time.Second
)

// round is one strike of a fault.
type round struct {
	*trial
	ctx    context.Context
	victim *node
	began  time.Time
}

// pass lets time go by.
func (r *round) pass(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// between draws a time.
func (r *round) between(from, to time.Duration) time.Duration {
	return from + time.Duration(r.rng.Int64N(int64(to-from)))
}

// revive starts the victim again, which was left dead for a while.
func (r *round) revive() error {
	if err := r.pass(r.between(2*time.Second, 5*time.Second)); err != nil {
		return err
	}
	return errors.Join(r.look(r.victim), r.victim.untell(), r.victim.start(r.ctx))
}

// awaitDeath waits for the death that the victim was told to die, and returns
// how it ended.
func (r *round) awaitDeath() error {
	ctx, cancel := context.WithTimeoutCause(r.ctx, deathTimeout, fmt.Errorf("it was to die within %v", deathTimeout))
	defer cancel()
	err := r.victim.dies(ctx)
	r.trouble(r.victim, true)
	return err
}

func (r *round) killAt(spec string) error {
	if err := r.victim.tell("kill", spec); err != nil {
		return err
	}
	if err := r.awaitDeath(); !wasKilled(err) {
		return fmt.Errorf("%s was to be killed at %s: %w", r.victim.name, spec, err)
	}
	return r.revive()
}

func (r *round) killed() error {
	if err := errors.Join(r.pass(r.between(0, time.Second)), r.victim.kill()); err != nil {
		return err
	}
	r.trouble(r.victim, true)
	return r.revive()
}

func (r *round) killAll() error {
	var errs []error
	for _, n := range r.nodes {
		errs = append(errs, n.signal(syscall.SIGKILL)) // all of them before the first is waited for
	}
	for _, n := range r.nodes {
		errs = append(errs, n.kill())
		r.trouble(n, true)
	}
	for _, n := range r.nodes {
		errs = append(errs, r.look(n))
	}
	errs = append(errs, r.pass(r.between(0, 2*time.Second)), r.start(r.ctx, r.nodes...))
	return errors.Join(errs...)
}

// The times of faults that pass by themselves: longer than every time-out of the
// cluster (claims live 3 s, a hanging write is borne for 5 s), shorter than a
// lasting token.
const (
	shortest = 7 * time.Second
	longest  = 10 * time.Second
)

func (r *round) cut(d direction) error {
	err := errors.Join(r.net.cut(r.victim.name, d), r.pass(r.between(shortest, longest)), r.net.heal())
	r.trouble(r.victim, false)
	return err
}

func (r *round) unplug() error {
	err := errors.Join(r.net.unplug(r.victim.name), r.pass(r.between(shortest, longest)), r.net.heal())
	r.trouble(r.victim, false)
	return err
}

func (r *round) pause() error {
	err := errors.Join(r.victim.signal(syscall.SIGSTOP), r.pass(r.between(shortest, longest)), r.victim.signal(syscall.SIGCONT))
	r.trouble(r.victim, false)
	return err
}

// diskFull fills the victim's disk.
func (r *round) diskFull() error {
	ballast := filepath.Join(r.victim.dataDir(), "ballast")
	if err := fill(ballast); err != nil {
		return err
	}
	if err := r.ended("disk full"); err != nil {
		return err
	}
	return errors.Join(os.Remove(ballast), r.revive())
}

// fill writes a file until there is no room left.
func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err = f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block, err = block[:len(block)/2], nil
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

// diskFault tells the victim how its disk fails.
func (r *round) diskFault(how, reason string) error {
	if err := r.victim.tell("disk", how); err != nil {
		return err
	}
	if err := r.ended(reason); err != nil {
		return err
	}
	return r.revive()
}

// ended waits until the victim has ended by itself, and has said why.
func (r *round) ended(reason string) error {
	err := r.awaitDeath()
	proc, _ := r.victim.process()
	if exitStatus(err) != 1 || !saysWhy(proc.Output(), reason) {
		return fmt.Errorf("%s was to end with status 1 and the reason %q, and ended: %w", r.victim.name, reason, err)
	}
	return nil
}

// saysWhy finds the last word of a node whose disk failed.
func saysWhy(output, reason string) bool {
	for line := range bytes.Lines([]byte(output)) {
		if bytes.Contains(line, []byte("store failed")) && strings.Contains(string(line), reason) {
			return true
		}
	}
	return false
}
