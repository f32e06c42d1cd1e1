// Package ring promises that every node, whatever its version, puts an account
// on the same shard ([ShardOf]), and proposes which nodes hold a shard, with
// level loads and few moves ([Place]).
//
// It is pure: no state, no I/O, no clock. It decides nothing: where a shard is
// stands in the cluster's records.
package ring

import "github.com/grantd/grantd/credential"

// MaxShards is the largest number of shards that a cluster can have. Shard
// numbers are 16 bits wide, and the highest ones are kept for groups that hold
// no accounts.
const MaxShards = 0xFF00

// ShardOf returns the shard of an account, from 0 to shards-1. The answer
// depends on its arguments only and is part of what is stored: it must never
// change for a cluster that holds data, which is why the number of shards is
// fixed when a cluster is founded. A number of shards outside 1 to [MaxShards]
// is taken as the nearest bound, so that no input can make a caller fail;
// whoever reads the number from a configuration refuses it there.
//
// Accounts are spread evenly also where their ids differ in the last letter
// only. The hash has no secret: whoever chooses account ids can put many on
// one shard, and slows down nobody but accounts of that shard.
func ShardOf(ref credential.Ref, shards int) uint16 {
	n := uint64(min(max(shards, 1), MaxShards))
	// The slash, which no name may hold, keeps ("ab", "c") from ("a", "bc").
	h := fnv1a(fnv1a(fnv1a(offset64, ref.Tenant), "/"), ref.ID)
	return uint16(mix(h) % n)
}

// The parameters of FNV-1a with 64 bits.
const (
	offset64 = 14695981039346656037
	prime64  = 1099511628211
)

// fnv1a continues the FNV-1a hash h over s.
func fnv1a(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * prime64
	}
	return h
}

// mix is the finalizer of MurmurHash3. FNV-1a carries a byte's bits upwards
// only, so that its low bits, which the remainder by a power of two takes, know
// little of the input.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
