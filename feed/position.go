package feed

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grantd/grantd/credential"
)

// position is how far a stream has come in each group.
type position []credential.EventPos

const (
	positionVersion = 1
	// maxPosition bounds a position as text, in bytes: one of as many groups as
	// there can be has less.
	maxPosition = 32 << 10
)

// encode writes the version, the number of groups, and the position in each.
func (p position) encode() []byte {
	b := make([]byte, 0, 2+3*len(p))
	b = append(b, positionVersion)
	b = binary.AppendUvarint(b, uint64(len(p)))
	for _, at := range p {
		b = binary.AppendUvarint(b, uint64(at))
	}
	return b
}

// decodePosition reads a position in so many groups.
func decodePosition(b []byte, groups int) (position, error) {
	if len(b) == 0 || b[0] != positionVersion {
		return nil, fmt.Errorf("%w: it is of another version", ErrPosition)
	}
	b = b[1:]
	number := func() (uint64, bool) {
		n, used := binary.Uvarint(b)
		if used <= 0 {
			return 0, false
		}
		b = b[used:]
		return n, true
	}
	if n, ok := number(); !ok || n != uint64(groups) {
		return nil, fmt.Errorf("%w: it is of another cluster", ErrPosition)
	}
	p := make(position, groups)
	for group := range p {
		n, ok := number()
		if !ok {
			return nil, fmt.Errorf("%w: it is cut off", ErrPosition)
		}
		p[group] = credential.EventPos(n)
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: it is too long", ErrPosition)
	}
	return p, nil
}

func (f *Feed) label() credential.Label {
	return credential.Label{Tenant: f.cfg.Tenant, Field: credential.FieldPosition}
}

// seal makes the text of a position.
func (f *Feed) seal(ctx context.Context, p position) (string, error) {
	sealed, err := f.cfg.Sealer.Seal(ctx, f.label(), credential.NewSecret(string(p.encode())))
	if err != nil {
		return "", fmt.Errorf("position of the event stream: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// open reads the text of a position. The error is ErrPosition where it is none.
func (f *Feed) open(ctx context.Context, text string) (position, error) {
	if len(text) > maxPosition {
		return nil, fmt.Errorf("%w: it is too long", ErrPosition)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not even of its alphabet", ErrPosition)
	}
	plain, err := f.cfg.Sealer.Open(ctx, f.label(), sealed)
	if errors.Is(err, credential.ErrSealed) {
		return nil, fmt.Errorf("%w: this cluster has not given it out", ErrPosition)
	}
	if err != nil {
		return nil, err
	}
	return decodePosition([]byte(plain.Reveal()), f.cfg.Groups)
}
