package envelope

import (
	"encoding/binary"

	"github.com/grantd/grantd/credential"
)

// Purposes keep what is sealed for one use from being opened for another. The
// number is the version of the encoding below it.
const (
	purposeField  = "grantd/field/1"
	purposeKeyset = "grantd/keyset/1"
	purposeProof  = "grantd/proof/1"
)

// fieldData is the associated data of a sealed field: every part with its
// length in front, so that no two labels have the same bytes. It is part of
// every stored ciphertext and never changes.
func fieldData(l credential.Label) []byte {
	b := make([]byte, 0, len(purposeField)+len(l.Tenant)+len(l.Account)+len(l.Field)+4*2+8)
	for _, part := range [...]string{purposeField, l.Tenant, l.Account, string(l.Field)} {
		b = appendPart(b, part)
	}
	return binary.BigEndian.AppendUint64(b, l.Generation)
}

// keysetData binds a wrapped keyset to its tenant.
func keysetData(tenant string) []byte {
	return appendPart(appendPart(nil, purposeKeyset), tenant)
}

func appendPart(b []byte, part string) []byte {
	b = binary.AppendUvarint(b, uint64(len(part)))
	return append(b, part...)
}
