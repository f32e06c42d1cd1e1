package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFile bounds the size of a configuration file: a wrong path, to a core
// dump say, must not be read whole.
const maxFile = 1 << 20

// Load reads the file (none where path is empty), then the environment (in the
// form of os.Environ), and checks the result. known names GRANTD_ variables
// that belong to someone else, such as the command line. The error is a
// [Problems] where the file could be read. The warnings concern what works but
// is hardly meant.
func Load(path string, environ, known []string) (c Config, warnings []string, err error) {
	var data []byte
	if path != "" {
		if data, err = readFile(path); err != nil {
			return Config{}, nil, err
		}
	}
	return Parse(path, data, environ, known)
}

// Parse is [Load] of a document in memory; name stands for the file in errors.
func Parse(name string, data []byte, environ, known []string) (Config, []string, error) {
	c := Default()
	r := newReader(name, &c)
	r.document(data)
	warnings := r.environment(environ, known)
	c = c.Complete()
	problems := r.problems
	reported := map[string]bool{}
	for _, p := range problems {
		reported[p.Key] = true
	}
	for _, p := range c.check() {
		if !reported[p.Key] {
			p.Where = r.origin(p.Key)
			problems = append(problems, p)
		}
	}
	if err := problems.orNil(); err != nil {
		return Config{}, warnings, err
	}
	return c, append(warnings, c.Warnings()...), nil
}

// WithEnviron returns c with the values that the environment overrides. Unlike
// [Load] it neither completes nor validates: more may be changed before that.
func (c Config) WithEnviron(environ, known []string) (Config, []string, error) {
	r := newReader("", &c)
	warnings := r.environment(environ, known)
	return c, warnings, r.problems.orNil()
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("configuration file %s does not exist", path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration file %s has more than %d bytes; is it the right one?", path, maxFile)
	}
	return data, nil
}
