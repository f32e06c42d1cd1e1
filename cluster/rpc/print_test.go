package rpc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const messages = "github.com/grantd/grantd/wire/rpcpb"

// TestNoMessageIsEverFormatted looks at every call in the packages that know
// the messages: none hands one to what prints, nor prints one itself. String of
// generated code shows secrets.
func TestNoMessageIsEverFormatted(t *testing.T) {
	packages := listPackages(t)
	looked := 0
	for _, p := range packages {
		if !slices.Contains(p.Imports, messages) || !strings.HasPrefix(p.ImportPath, "github.com/grantd/grantd/") {
			continue
		}
		for _, problem := range p.check(t, packages) {
			t.Error(problem)
		}
		looked++
	}
	if looked < 2 {
		t.Errorf("only %d packages were looked at", looked)
	}
}

func TestTheCheckFindsWhatFormatsMessages(t *testing.T) {
	packages := listPackages(t)
	for what, body := range map[string]string{
		"fmt":              `fmt.Sprintf("%v", m)`,
		"fmt of a part":    `fmt.Println(m.GetToken())`,
		"an error":         `fmt.Errorf("x: %v", m.GetKind())`,
		"slog":             `slog.Info("x", "m", m)`,
		"a logger":         `l.Warn("x", "m", []*rpcpb.Response{m})`,
		"String":           `m.String()`,
		"String of a part": `m.GetToken().String()`,
		"a panic":          `panic(m)`,
		"bytes":            `l.Warn("x", "secret", m.GetToken().GetSecret())`,
	} {
		src := "package x\nimport (\"fmt\"; \"log/slog\"; \"" + messages + "\")\nvar _ = fmt.Sprint\nfunc f(m *rpcpb.Response, l *slog.Logger) { " + body + " }\n"
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if found := look(t, fset, []*ast.File{f}, packages); len(found) != 1 {
			t.Errorf("%s: found %q", what, found)
		}
	}
}

// listed is a package as go list tells it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
}

func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Imports",
		"../...", "../../wire/...", "../../httpapi", "log/slog", "fmt")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	all, d := map[string]listed{}, json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func (p listed) check(t *testing.T, packages map[string]listed) []string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return look(t, fset, files, packages)
}

// look returns the calls that show a message, or a secret in one.
func look(t *testing.T, fset *token.FileSet, files []*ast.File, packages map[string]listed) (found []string) {
	t.Helper()
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(packages[path].Export)
	})}
	if _, err := conf.Check("x", fset, files, info); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if why := shows(call, info); why != "" {
				found = append(found, fmt.Sprintf("%s: %s", fset.Position(call.Pos()), why))
			}
			return true
		})
	}
	return found
}

func shows(call *ast.CallExpr, info *types.Info) string {
	prints := false
	switch fn := call.Fun.(type) {
	case *ast.Ident:
		prints = fn.Name == "panic"
	case *ast.SelectorExpr:
		if fn.Sel.Name == "String" && isMessage(info.TypeOf(fn.X)) {
			return "String of a message"
		}
		if o := info.Uses[fn.Sel]; o != nil && o.Pkg() != nil {
			prints = slices.Contains([]string{"fmt", "log", "log/slog", "errors"}, o.Pkg().Path())
		}
	}
	if !prints {
		return ""
	}
	for _, arg := range call.Args {
		if isMessage(info.TypeOf(arg)) {
			return "a message is printed"
		}
		if c, ok := arg.(*ast.CallExpr); ok {
			if s, ok := c.Fun.(*ast.SelectorExpr); ok && isMessage(info.TypeOf(s.X)) && isBytes(info.TypeOf(arg)) {
				return "bytes of a message are printed"
			}
		}
	}
	return ""
}

func isBytes(t types.Type) bool {
	s, ok := t.Underlying().(*types.Slice)
	return ok && types.Identical(s.Elem(), types.Typ[types.Byte])
}

// isMessage reports whether a type is one of the messages, or of their parts
// but codes, or holds such.
func isMessage(t types.Type) bool {
	switch t := t.(type) {
	case *types.Pointer:
		return isMessage(t.Elem())
	case *types.Slice:
		return isMessage(t.Elem())
	case *types.Map:
		return isMessage(t.Elem())
	case *types.Named:
		if t.Obj().Pkg() == nil || t.Obj().Pkg().Path() != messages {
			return false
		}
		_, enum := t.Underlying().(*types.Basic)
		return !enum
	}
	return false
}
