package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/registry"
)

// What was fixed when the data was made, and is compared with what the
// configuration says now.
const (
	settingShards = "shards"
	settingProof  = "kek_proof"
)

// checkCluster compares it; where the data is new, it is fixed here.
func checkCluster(ctx context.Context, kv registry.KV, c CoreConfig) error {
	stored, err := registry.Setting(ctx, kv, settingShards, func() ([]byte, error) {
		return binary.BigEndian.AppendUint16(nil, uint16(c.Shards)), nil
	})
	if err != nil {
		return err
	}
	if err := c.checkShards(stored); err != nil {
		return err
	}
	proof, err := registry.Setting(ctx, kv, settingProof, c.KEK.Proof)
	if err != nil {
		return err
	}
	return c.KEK.Check(proof)
}

// checkKept compares what there is of it in this node's copy.
func checkKept(kv interface {
	Get(key string) (value []byte, rev uint64, err error)
}, c CoreConfig) error {
	checks := []struct {
		name  string
		check func([]byte) error
	}{{settingShards, c.checkShards}, {settingProof, c.KEK.Check}}
	for _, k := range checks {
		value, _, err := kv.Get("setting/" + k.name)
		if errors.Is(err, credential.ErrNotFound) {
			continue
		}
		if err == nil {
			err = k.check(value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c CoreConfig) checkShards(stored []byte) error {
	if len(stored) == 2 && int(binary.BigEndian.Uint16(stored)) == c.Shards {
		return nil
	}
	return fmt.Errorf("the data in %s has %d shards and the configuration says %d; set cluster.shards back: the number is fixed when the data is made",
		c.Dir, binary.BigEndian.Uint16(append(stored, 0, 0)), c.Shards)
}
