package wire

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what fmt and log/slog show in place of a [Secret].
const Redacted = "[redacted]"

// Secret is a token, a password or a key on its way between client and server.
// encoding/json writes it plainly, since that is the wire; every verb of fmt
// and every log/slog handler that is given the Secret itself shows [Redacted].
//
// A handler that renders whole structs as JSON would bypass that, so each type
// of this package that holds a Secret implements slog.LogValuer.
type Secret string

// Reveal returns the plaintext.
func (s Secret) Reveal() string { return string(s) }

// String returns [Redacted].
func (Secret) String() string { return Redacted }

// GoString returns [Redacted], for %#v.
func (Secret) GoString() string { return Redacted }

// Format writes [Redacted] for every verb, %x and %q included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue returns [Redacted].
func (Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }
