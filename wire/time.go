package wire

import (
	"bytes"
	"fmt"
	"time"
)

// Time is a moment in RFC 3339, UTC, cut to milliseconds. The zero Time is
// null: not known, or never.
type Time struct{ time.Time }

// At wraps t.
func At(t time.Time) Time { return Time{t} }

// maxYear is the last year that RFC 3339 can write.
const maxYear = 9999

// AppendJSON appends the JSON form to dst. A moment that RFC 3339 cannot write
// (past the year 9999) is as good as never: null.
func (t Time) AppendJSON(dst []byte) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	u := t.UTC().Truncate(time.Millisecond)
	if y := u.Year(); y < 0 || y > maxYear {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = u.AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

// MarshalJSON writes the JSON form.
func (t Time) MarshalJSON() ([]byte, error) { return t.AppendJSON(make([]byte, 0, 32)), nil }

// UnmarshalJSON reads null or an RFC 3339 time of any offset.
func (t *Time) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*t = Time{}
		return nil
	}
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("is not a string; write a time such as %q", exampleTime)
	}
	parsed, err := time.Parse(time.RFC3339, string(b[1:len(b)-1]))
	if err != nil {
		return fmt.Errorf("is not an RFC 3339 time; write it as %q", exampleTime)
	}
	t.Time = parsed.UTC()
	return nil
}

const exampleTime = "2006-01-02T15:04:05Z"
