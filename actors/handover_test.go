package actors_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/credential"
)

// absence is what becomes of the old owner when the shard is taken from it in
// the middle of a refresh.
type absence struct {
	name string
	// cut: the other nodes do not reach it, nor it them, until it returns; it
	// does not learn that it lost the shard.
	cut bool
	// pause is for how long its refresh stands still before it goes on.
	pause time.Duration
	// dies: it is killed where it stands. Without returns it stays down.
	dies bool
	// returns is when it comes back, after the loss; 0: never, or it was never gone.
	returns time.Duration
}

var absences = []absence{
	{name: "reachable"},
	{name: "paused within the deadline", pause: 5 * time.Second},
	{name: "paused past the deadline", pause: time.Minute},
	{name: "cut off for a moment", cut: true, returns: 4 * time.Second},
	{name: "cut off past the deadline", cut: true, returns: time.Minute},
	{name: "cut off for long", cut: true, returns: 8 * time.Minute},
	{name: "cut off and paused", cut: true, pause: 30 * time.Second, returns: time.Minute},
	{name: "cut off and slow", cut: true, pause: 30 * time.Second, returns: 10 * time.Second},
	{name: "killed and started again", cut: true, dies: true, returns: time.Minute},
	{name: "gone for good", cut: true, dies: true},
}

// The old owner loses the shard wherever a refresh may stand, and its new owner
// finds out what became of it, if anybody knows.
func TestRefreshSurvivesTheLossOfItsShard(t *testing.T) {
	for _, point := range append(actors.Points(), pointInFlight) {
		for i, away := range absences {
			if raceEnabled && i%4 != 0 {
				continue
			}
			t.Run(fmt.Sprint(point, "/", away.name), func(t *testing.T) {
				inPair(t, func(t *testing.T, p *pair) { loseShard(t, p, point, away) })
			})
			t.Run(fmt.Sprint(point, "/", away.name, "/token is over"), func(t *testing.T) {
				inPair(t, func(t *testing.T, p *pair) { loseShardLate(t, p, point, away) })
			})
		}
	}
}

// lose takes the shard from n1 when its refresh stands at the point, and lets
// it go on as the absence says.
func (p *pair) lose(ref credential.Ref, point actors.Point, away absence) (told <-chan error) {
	p.t.Helper()
	old := p.members["n1"]
	reached, goOn := make(chan struct{}), make(chan struct{})
	old.at(point, func() {
		close(reached)
		<-goOn
	})
	asked, system := make(chan error, 1), old.up()
	go func() {
		_, err := system.Refresh(context.Background(), ref, nil)
		asked <- err
	}()
	<-reached
	if away.cut {
		p.cutOff("n1", "n2")
	}
	if away.dies {
		old.kill()
	}
	p.lead("n2")
	synctest.Wait()
	woken, cancel := context.WithTimeout(p.t.Context(), time.Millisecond)
	defer cancel()
	_, _ = p.owner().Token(woken, ref, 365*24*time.Hour) // the account's actor finds the claim
	time.AfterFunc(away.pause, func() { close(goOn) })
	if away.returns > 0 {
		time.AfterFunc(away.returns, func() {
			if away.dies {
				old.tasks.Wait()
				old.start()
			}
			p.heal("n1", "n2")
		})
	}
	return asked
}

// While the old token serves, nothing is lost but what is nowhere any more.
func loseShard(t *testing.T, p *pair, point actors.Point, away absence) {
	ref, grant := p.account("crm")
	told := p.lose(ref, point, away)
	if tok, err := p.owner().Token(t.Context(), ref, 0); err != nil || !p.provider.TokenLive(tok.Secret) {
		t.Errorf("while the fate of the refresh is open, a caller got %v", err)
	}
	time.Sleep(90 * time.Minute)
	if err := <-told; err != nil && !actors.IsRetryable(err) {
		t.Errorf("who waited at the old owner was told %v", err)
	}
	a, g := p.get(ref), p.grant(grant)
	// The answer had come, and died with the node: it was not in its journal yet,
	// or the journal did not come back.
	nowhere := away.dies && (point == actors.PointAnswered || point == actors.PointSettling && away.returns == 0)
	switch {
	case nowhere && (a.State != credential.StateNeedsReauth || a.Reason != credential.ReasonOutcomeLost || g.Alive):
		t.Errorf("%s %q, %+v, want the lost outcome named", a.State, a.Reason, g)
	case !nowhere && (a.State != credential.StateActive || g.Replays > 0 || !g.Alive):
		t.Errorf("%s %q, generation %d, %+v", a.State, a.Reason, a.Generation, g)
	}
	p.inOrder(ref, grant)
}

// When the old token no longer serves, the new owner waits for the old one's
// deadline and not longer; so an answer is lost that does not come back until then.
func loseShardLate(t *testing.T, p *pair, point actors.Point, away absence) {
	ref, grant := p.accountUntil("crm", time.Now().Add(time.Second))
	told := p.lose(ref, point, away)
	time.Sleep(2 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tok, err := p.owner().Token(ctx, ref, 0)
	if err == nil && !p.provider.TokenLive(tok.Secret) || err != nil && !actors.IsRetryable(err) {
		t.Errorf("while the fate of the refresh is open, a caller got %v", err)
	}
	time.Sleep(90 * time.Minute)
	if err := <-told; err != nil && !actors.IsRetryable(err) {
		t.Errorf("who waited at the old owner was told %v", err)
	}
	a, g := p.get(ref), p.grant(grant)
	back := !away.cut || away.returns > 0 && away.returns < 15*time.Second
	switch lost := g.Replays > 0; {
	case lost && (a.State != credential.StateNeedsReauth || a.Reason != credential.ReasonOutcomeLost || back):
		t.Errorf("%s %q, %+v, want the lost outcome named", a.State, a.Reason, g)
	case !lost && (a.State != credential.StateActive || !g.Alive):
		t.Errorf("%s %q, generation %d, %+v", a.State, a.Reason, a.Generation, g)
	}
	p.inOrder(ref, grant)
}
