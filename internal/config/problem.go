package config

import "strings"

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Where the value came from: "grantd.yaml:12", the name of an environment
	// variable, or empty for a default.
	Where string
	Key   string // "http.listen"; empty where it concerns no key
	Text  string // what is wrong and what to do
}

// String returns "where: key: text", without the parts that are empty.
func (p Problem) String() string {
	parts := make([]string, 0, 3)
	for _, s := range []string{p.Where, p.Key, p.Text} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// Problems is all that is wrong with a configuration; an error of one line
// each. It is never empty where it is returned as an error.
type Problems []Problem

// Error lists the problems, a line each.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// orNil returns the problems as an error, nil where there are none.
func (ps Problems) orNil() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
