package strict

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxRevokedMachine bounds the list of revoked tokens of one client.
const maxRevokedMachine = 4096

// machineLine numbers the tokens from client credentials, of all clients.
type machineLine struct{ n atomic.Uint64 }

func (l *machineLine) take() uint64 { return l.n.Add(1) }
func (l *machineLine) last() uint64 { return l.n.Load() }

// machineTokens knows which tokens from client credentials were revoked before
// their time: all up to a number, and single ones.
type machineTokens struct {
	mu      sync.Mutex
	floor   uint64
	revoked map[uint64]time.Time // until when the token would have lived
}

// revoke kills one token. When more are revoked than fit, all older ones of
// the client die with them, which errs on the strict side.
func (m *machineTokens) revoke(t token, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revoked == nil {
		m.revoked = map[uint64]time.Time{}
	}
	if len(m.revoked) >= maxRevokedMachine {
		for seq, expires := range m.revoked {
			if !now.Before(expires) {
				delete(m.revoked, seq)
			}
		}
	}
	if len(m.revoked) >= maxRevokedMachine {
		for seq := range m.revoked {
			m.floor = max(m.floor, seq)
		}
		clear(m.revoked)
	}
	m.revoked[t.seq] = t.expires
}

func (m *machineTokens) revokeAll(upTo uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.floor = max(m.floor, upTo)
	clear(m.revoked)
}

func (m *machineTokens) live(t token) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, revoked := m.revoked[t.seq]
	return t.seq > m.floor && !revoked
}
