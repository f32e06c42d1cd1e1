package actors

import (
	"context"

	"github.com/grantd/grantd/credential"
)

// maxHandouts bounds how many handouts of an account are remembered. Beyond it,
// and when its actor is passivated, some may be noted a second time.
const maxHandouts = 64

// NoteHandout writes into the account's history that an agent is about to be
// handed a token, once for each generation and key. The token must not go out
// before NoteHandout has returned, nor where it failed.
func (s *System) NoteHandout(ctx context.Context, ref credential.Ref, to credential.Handout) error {
	return s.ask(ctx, s.of(ref), func(req request) message { return handedOut{req, to} }, ref).err
}

func (a *account) handedOut(m handedOut) {
	m.reply <- result{err: a.noteHandout(m.to)}
}

func (a *account) noteHandout(to credential.Handout) error {
	if !a.exists {
		return credential.ErrNotFound
	}
	if _, noted := a.handouts[to]; noted {
		return nil
	}
	err := a.anew(func() error {
		line := a.lines(credential.WhatHandedOut, "", "to agent "+to.Agent+", key "+to.Key)
		line[0].Generation, line[0].Attempt = to.Generation, ""
		return a.commit(a.rec.Clone(), line, nil)
	})
	if err != nil {
		return err
	}
	if a.handouts == nil || len(a.handouts) >= maxHandouts {
		a.handouts = make(map[credential.Handout]struct{})
	}
	a.handouts[to] = struct{}{}
	return nil
}
