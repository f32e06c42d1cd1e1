package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// readKeys calls a keyring and checks what it returns. Errors show no key.
func readKeys(read func() ([][]byte, error)) ([][]byte, error) {
	given, err := read()
	if err != nil {
		return nil, fmt.Errorf("gossip: reading the keys: %w", err)
	}
	if len(given) == 0 {
		return nil, errors.New("gossip: there is no key; to gossip in plaintext, give no keyring at all")
	}
	var keys [][]byte
	for i, k := range given {
		if err := memberlist.ValidateKey(k); err != nil {
			return nil, fmt.Errorf("gossip: key %d has %d bytes: write 16, 24 or 32", i+1, len(k))
		}
		if !contains(keys, k) {
			keys = append(keys, bytes.Clone(k))
		}
	}
	return keys, nil
}

func contains(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// turn makes a keyring in use hold just the wanted keys, the first of them as
// the primary one, and says whether that changed anything. The wanted ones stay
// usable all the time, but for those behind an unwanted one, which are out for
// an instant.
//
// memberlist's RemoveKey moves the keys behind the removed one while others may
// read them; only the last key can be removed without a race.
func turn(ring *memberlist.Keyring, want [][]byte) (changed bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("gossip: changing the keys: %w", err)
		}
	}()
	missing := func() error {
		for _, k := range want {
			if !contains(ring.GetKeys(), k) {
				changed = true
				if err := ring.AddKey(k); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := missing(); err != nil {
		return changed, err
	}
	if !bytes.Equal(ring.GetPrimaryKey(), want[0]) {
		changed = true
		if err := ring.UseKey(want[0]); err != nil {
			return changed, err
		}
	}
	for slices.ContainsFunc(ring.GetKeys(), func(k []byte) bool { return !contains(want, k) }) {
		changed = true
		keys := ring.GetKeys()
		if err := ring.RemoveKey(keys[len(keys)-1]); err != nil {
			return changed, err
		}
	}
	return changed, missing()
}

// Reload reads the keys now and returns when they are in use. It fails, and the
// keys stay as they are, if they cannot be read, and with [ErrClosed].
func (g *Gossip) Reload() error {
	if g.ring == nil {
		return nil
	}
	answer := make(chan error, 1)
	select {
	case g.reloads <- answer:
	case <-g.ctx.Done():
		return ErrClosed
	}
	select {
	case err := <-answer:
		return err
	case <-g.ctx.Done():
		return ErrClosed
	}
}

// turnKeys follows the keyring.
func (g *Gossip) turnKeys(ctx context.Context) {
	tick := time.NewTicker(g.conf.Timing.Keyring)
	defer tick.Stop()
	for {
		var answer chan<- error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case answer = <-g.reloads:
		}
		keys, err := readKeys(g.conf.Keyring)
		var changed bool
		if err == nil {
			changed, err = turn(g.ring, keys)
		}
		switch {
		case err != nil:
			g.herald.say(slog.LevelError, "the keys stay as they are: "+err.Error())
		case changed:
			g.conf.Logger.Info("gossip: the keys have changed", "keys", len(keys))
		}
		if answer != nil {
			answer <- err
		}
	}
}
