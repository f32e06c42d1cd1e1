package tests

import (
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestProductionDoesNotImportWhatIsForTests(t *testing.T) {
	all := packages(t)
	forTests := []string{"testing", "net/http/httptest", "go.uber.org/goleak", "github.com/stretchr/testify"}
	for _, p := range all {
		if p.supportsTests() {
			continue
		}
		for _, imported := range p.Imports {
			q, isOurs := all[imported]
			if isOurs && q.supportsTests() || slices.ContainsFunc(forTests, func(bad string) bool { return within(imported, bad) }) {
				t.Errorf("%s imports %s, which is for tests", p.folder(), imported)
			}
		}
	}
}

func TestEveryPackageSaysWhatItPromises(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.folder())
		}
		if vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "misc"}; slices.Contains(vague, path.Base(p.ImportPath)) {
			t.Errorf("%s: name it after what it does", p.folder())
		}
	}
}

// source is a Go file that a person wrote.
type source struct {
	name string // relative to the module
	file *ast.File
	test bool
}

// sources parses every Go file of the packages but generated ones, those too
// that a build constraint leaves out here.
func sources(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	var list []source
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestFiles, p.XTestFiles, p.IgnoredGoFiles) {
			file := filepath.Join(p.Dir, name)
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if ast.IsGenerated(parsed) {
				continue
			}
			relative, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, source{name: relative, file: parsed, test: strings.HasSuffix(name, "_test.go")})
		}
	}
	return list
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", s.name)
			}
		}
	}
}

// knownTags are the build tags in use: platforms, and what make test sets, for
// its tests or for the binary that they kill.
var knownTags = []string{"linux", "darwin", "windows", "unix", "race", "failpoints"}

func TestNoFileHidesBehindABuildTagThatNobodySets(t *testing.T) {
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if !constraint.IsGoBuild(c.Text) {
					continue
				}
				expr, err := constraint.Parse(c.Text)
				if err != nil {
					t.Errorf("%s: %v", s.name, err)
					continue
				}
				expr.Eval(func(tag string) bool {
					if !slices.Contains(knownTags, tag) {
						t.Errorf("%s is built only with the tag %q, and make test does not know it", s.name, tag)
					}
					return true
				})
			}
		}
	}
}

func TestNoTestSleeps(t *testing.T) {
	all := sources(t)
	bubbles := map[string]bool{} // folders whose tests run in virtual time, where sleeping costs nothing and is exact
	for _, s := range all {
		if s.test && slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` }) {
			bubbles[path.Dir(s.name)] = true
		}
	}
	for _, s := range all {
		if s.test && !bubbles[path.Dir(s.name)] && sleeps(s.file) {
			t.Errorf("%s sleeps; wait for a condition, or use testing/synctest", s.name)
		}
	}
}

func sleeps(f *ast.File) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			x, ok := sel.X.(*ast.Ident)
			found = found || ok && x.Name == "time"
		}
		return !found
	})
	return found
}
