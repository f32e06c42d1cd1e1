package actors

import (
	"time"

	"github.com/grantd/grantd/credential"
)

// message is anything that goes through a gate to one account's actor.
type message interface {
	// account says whose mailbox it is for.
	account() credential.Ref
	// refuse ends the message where no actor will take it: the shard is not
	// owned here, or the node is stopping, or its actor failed. It never blocks.
	refuse(err error)
}

// result is the answer to a caller.
type result struct {
	account credential.Account
	token   credential.Token
	created bool
	err     error
}

// request is the part that all messages of callers have in common. reply has
// room for one result, so that answering never blocks.
type request struct {
	ref   credential.Ref
	reply chan<- result
}

func (r request) account() credential.Ref { return r.ref }

// refuse answers with the error, unless there is an answer already: an actor
// may fail after it has answered.
func (r request) refuse(err error) {
	select {
	case r.reply <- result{err: err}:
	default:
	}
}

type (
	// getToken asks for a token that lives for minTTL more.
	getToken struct {
		request
		minTTL time.Duration
	}
	// refreshNow asks for a newer generation than stale; nil: than the present one.
	refreshNow struct {
		request
		stale *uint64
	}
	// importCredentials brings new credentials.
	importCredentials struct {
		request
		what credential.Import
	}
	// disconnect ends the account.
	disconnect struct{ request }
	// offered brings an answer from a journal.
	offered struct {
		request
		late *lateAnswer
	}
	// handedOut says that an agent is about to get the token.
	handedOut struct {
		request
		to credential.Handout
	}
	// revocationOver says what became of a grant that was to be revoked.
	revocationOver struct {
		request
		revocation   credential.Revocation
		what         credential.What
		code, detail string
	}
)

// signal is the part that messages without a caller have in common.
type signal struct {
	ref  credential.Ref
	gone func() // called where no actor takes it; nil: nothing to undo
}

func (s signal) account() credential.Ref { return s.ref }
func (s signal) refuse(error) {
	if s.gone != nil {
		s.gone()
	}
}

type (
	// wake brings an account's actor up, so that it publishes a snapshot or
	// takes care of an interrupted refresh.
	wake struct{ signal }
	// due says that the schedule's time has come.
	due struct{ signal }
	// admitted says that the job that waits in the integration's lane may go on.
	admitted struct {
		signal
		job *job
	}
	// answered brings what came of a request to the provider.
	answered struct {
		signal
		job    *job
		answer answer
		grant  *credential.Grant // with Failure == nil: its plaintext, for those who wait
	}
	// told brings what another node knows of the claim that was found here.
	told struct {
		signal
		inquiry *inquiry
		fate    credential.Fate
		late    *lateAnswer // with FateAnswered
		err     error       // the node did not say
	}
	// inquireAgain says that it is time to ask once more.
	inquireAgain struct {
		signal
		inquiry *inquiry
	}
	// settleAgain comes after an outcome could not be committed.
	settleAgain struct {
		signal
		job *job
	}
)

// carrier is a message that a refresh goes on with.
type carrier interface{ carried() *job }

func (m admitted) carried() *job    { return m.job }
func (m answered) carried() *job    { return m.job }
func (m settleAgain) carried() *job { return m.job }
