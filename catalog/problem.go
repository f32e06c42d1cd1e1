package catalog

import (
	"errors"
	"fmt"
	"strings"

	"github.com/grantd/grantd/credential"
)

// FieldError is one value that cannot be. It is a credential.ErrInvalid.
type FieldError struct {
	Where string // "file:line" for a file of the catalogue, else empty
	Field string // as it is named in YAML and JSON
	Text  string // what is wrong, and what to write instead
}

// Error describes the problem in one line.
func (e *FieldError) Error() string {
	var b strings.Builder
	if e.Where != "" {
		b.WriteString(e.Where + ": ")
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	return b.String() + e.Text
}

// Unwrap returns credential.ErrInvalid.
func (*FieldError) Unwrap() error { return credential.ErrInvalid }

// problems collects what is wrong, all of it, in the order of the fields.
type problems []*FieldError

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, &FieldError{Field: field, Text: fmt.Sprintf(format, args...)})
}

// err joins the problems; nil if there are none.
func (p problems) err() error {
	errs := make([]error, len(p))
	for i, e := range p {
		errs[i] = e
	}
	return errors.Join(errs...)
}
