package storage

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/storage/storagepb"
)

// Revocations returns up to limit grants that are to be revoked, those first
// whose next try is soonest, whether its time has come or not.
func (g *Group) Revocations(limit int) ([]credential.Revocation, error) {
	var all []credential.Revocation
	if limit <= 0 {
		return nil, nil
	}
	err := g.Scan([]byte{tagRevoke}, []byte{tagRevoke + 1}, func(key, value []byte, rev uint64) (bool, error) {
		r, err := decodeRevocation(key, value, rev)
		if err != nil {
			return false, err
		}
		all = append(all, r)
		return len(all) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the revocations: %w", err)
	}
	return all, nil
}

// EncodeRetry returns the batch that puts a stored revocation off: to another
// time, with another number of tries. It takes effect only if the old one is
// still there.
func EncodeRetry(old, next credential.Revocation) ([]byte, error) {
	key := revocationKey(old)
	return Batch{
		Checks:  []Check{{Key: key, Revision: old.Revision}},
		Deletes: [][]byte{key},
		Puts:    []Put{{Key: revocationKey(next), Value: encodeRevocation(next)}},
	}.Encode()
}

func addRevocations(b *Batch, c *credential.Change) {
	for _, r := range c.Revoked {
		b.Deletes = append(b.Deletes, revocationKey(r))
	}
	for _, r := range c.Revoke {
		b.Puts = append(b.Puts, Put{Key: revocationKey(r), Value: encodeRevocation(r)})
	}
}

func revocationKey(r credential.Revocation) []byte {
	b := appendRef(appendTime([]byte{tagRevoke}, r.At), r.Account.Ref)
	return append(append(b, separator), r.ID...)
}

func encodeRevocation(r credential.Revocation) []byte {
	account := encodeAccount(&r.Account)
	m := make(message, 0, len(account)+32)
	m.bytes(1, account)
	m.time(2, r.Since)
	m.number(3, uint64(r.Tries))
	return m
}

func decodeRevocation(key, value []byte, rev uint64) (r credential.Revocation, err error) {
	if len(key) < 1+timeLen {
		return r, damaged("key of a revocation", fmt.Errorf("%d bytes are too few", len(key)))
	}
	name := string(key[1+timeLen:])
	at := strings.LastIndexByte(name, separator)
	if at < 0 {
		return r, damaged("key of a revocation", errors.New("it names no revocation"))
	}
	ref, err := parseRef([]byte(name[:at]))
	if err != nil {
		return r, err
	}
	var p storagepb.RevocationRecord
	if err := proto.Unmarshal(value, &p); err != nil {
		return r, damaged("revocation", err)
	}
	r = credential.Revocation{ID: name[at+1:], Since: moment(p.Since), At: parseTime(key[1:]), Tries: int(p.Tries), Revision: rev}
	r.Account, err = decodeAccount(ref, p.Account)
	return r, err
}
