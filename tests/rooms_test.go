package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/grantd/grantd"

// room is a row of the table "Rooms" in DESIGN.md: a folder and what is below it.
type room struct {
	folder string
	// ours are the folders of grantd that the room imports, or none; nil: those
	// of all rows above.
	ours []string
	// never are packages, of grantd or others, that the room does not import,
	// and that nothing of grantd that it imports does.
	never []string
	// neverItself are packages that it does not import itself; through others
	// it may.
	neverItself []string
}

const (
	pebble     = "github.com/cockroachdb/pebble/v2"
	tink       = "github.com/tink-crypto/tink-go/v2"
	raft       = "github.com/hashicorp/raft"
	memberlist = "github.com/hashicorp/memberlist"
	grpc       = "google.golang.org/grpc"
)

// rooms are in the order of dependency: a row imports only rows above it.
var rooms = []room{
	{folder: "wire", ours: []string{}},
	{folder: "credential", ours: []string{}},
	{folder: "internal/nearest", ours: []string{}},
	{folder: "catalog", never: []string{"net/http"}},
	{folder: "envelope", never: []string{"net/http", "net"}},
	{folder: "storage", never: []string{ours("envelope"), tink, raft}},
	{folder: "oauth/clientkey", ours: []string{"credential"}, never: []string{"net/http"}},
	{folder: "oauth", never: []string{ours("storage"), ours("envelope")}},
	{folder: "outbox", never: []string{ours("storage"), ours("oauth")}},
	{folder: "feed", ours: []string{"credential"}, never: []string{"net"}},
	// The parts of "cluster", which as a whole never uses envelope, oauth and
	// outbox. What decides knows neither engines nor the network.
	{folder: "cluster/ring", ours: []string{"credential"}, never: []string{"net"}},
	{folder: "cluster/gossip", ours: []string{"credential"}, never: []string{pebble, raft, grpc, "net/http"}},
	{folder: "cluster/raftlog", ours: []string{}},
	{folder: "cluster/link", ours: []string{"credential", "cluster/raftlog"}, never: []string{pebble, memberlist}},
	{folder: "cluster/consensus", ours: []string{"credential", "storage", "cluster/raftlog", "cluster/ring"}, never: []string{memberlist, grpc, "net/http"}},
	{folder: "cluster/placement", ours: []string{"credential"}, never: []string{pebble, raft, memberlist, grpc, "net"}},
	{folder: "cluster/rpc", ours: []string{"credential", "wire"}, never: []string{pebble, raft, memberlist}},
	{folder: "cluster/route", ours: []string{"credential", "wire", "cluster/rpc"}, never: []string{pebble, raft, memberlist}},
	{folder: "actors", never: []string{pebble, tink, raft, memberlist, "net/http"}},
	{folder: "registry", never: []string{pebble, raft, memberlist, "net/http"}},
	{folder: "mcp", ours: []string{"credential", "catalog", "oauth", "registry"}, never: []string{pebble, raft, memberlist}},
	{folder: "connect", ours: []string{"credential", "catalog"}, never: []string{"net/http"}},
	{folder: "client", ours: []string{"wire"}},
	{folder: "httpapi", never: []string{ours("storage"), raft, tink}},
	{folder: "internal/config", ours: []string{"credential", "internal/nearest"}},
	{folder: "internal/node"},
	{folder: "bench", ours: []string{"wire", "credential", "catalog", "client"}},
	{folder: "cmd/node", neverItself: []string{
		ours("catalog"), ours("envelope"), ours("storage"), ours("oauth"), ours("outbox"), ours("cluster"),
		ours("actors"), ours("registry"), ours("httpapi"),
	}},
	{folder: "internal/node/nodetest"},
	{folder: "internal/sim"},
	{folder: "scripts"},
	{folder: "tests"},
}

func ours(folder string) string { return modulePath + "/" + folder }

// pkg is a package as go list describes it, without its tests.
type pkg struct {
	ImportPath string
	Name       string
	Doc        string
	Dir        string
	Imports    []string
	GoFiles    []string
	TestFiles  []string `json:"TestGoFiles"`
	XTestFiles []string `json:"XTestGoFiles"`
	// IgnoredGoFiles are left out by a build constraint.
	IgnoredGoFiles []string
}

func (p pkg) folder() string { return strings.TrimPrefix(p.ImportPath, modulePath+"/") }

// supportsTests says whether the package exists for tests only.
func (p pkg) supportsTests() bool {
	return within(p.folder(), "tests") || within(p.folder(), "internal/sim") || strings.HasSuffix(path.Base(p.ImportPath), "test")
}

// within says whether a path is base or lies below it.
func within(p, base string) bool { return p == base || strings.HasPrefix(p, base+"/") }

// packages lists all packages of the module.
func packages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Doc,Dir,Imports,GoFiles,TestGoFiles,XTestGoFiles,IgnoredGoFiles", modulePath+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	all, d := map[string]pkg{}, json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	if len(all) < len(rooms)/2 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// roomOf finds the room that a folder lies in, the innermost of several.
func roomOf(folder string) (at int, ok bool) {
	for i, r := range rooms {
		if within(folder, r.folder) && (!ok || len(r.folder) > len(rooms[at].folder)) {
			at, ok = i, true
		}
	}
	return at, ok
}

func TestPackagesImportOnlyWhatTheirRoomMay(t *testing.T) {
	all := packages(t)
	for _, p := range all {
		if problem := checkRoom(all, p); len(problem) > 0 {
			t.Errorf("%s: %s", p.folder(), strings.Join(problem, "; "))
		}
	}
}

// checkRoom says which imports of p break the table.
func checkRoom(all map[string]pkg, p pkg) []string {
	at, ok := roomOf(p.folder())
	if !ok {
		return []string{"it lies in no room; add it to the table here and in docs/architecture.md"}
	}
	r, problems := rooms[at], []string{}
	for _, imported := range p.Imports {
		for _, bad := range r.neverItself {
			if within(imported, bad) {
				problems = append(problems, "it imports "+imported+", which "+r.folder+" must not")
			}
		}
		q, isOurs := all[imported]
		if !isOurs || within(q.folder(), r.folder) {
			continue
		}
		switch to, _ := roomOf(q.folder()); {
		case r.ours != nil && !slices.ContainsFunc(r.ours, func(f string) bool { return within(q.folder(), f) }):
			problems = append(problems, "it imports "+q.folder()+"; of grantd it may import only "+strings.Join(r.ours, ", "))
		case to > at:
			problems = append(problems, "it imports "+q.folder()+", which stands below it")
		}
	}
	return append(problems, reached(all, p, r.never)...)
}

// reached says by which way p gets to a package that it must never use, going
// through packages of grantd only.
func reached(all map[string]pkg, p pkg, never []string) []string {
	var problems []string
	seen := map[string]bool{}
	var walk func(q pkg, way []string)
	walk = func(q pkg, way []string) {
		for _, imported := range q.Imports {
			for _, bad := range never {
				if within(imported, bad) {
					problems = append(problems, strings.Join(append(way, imported), " -> ")+" must not be")
				}
			}
			if next, isOurs := all[imported]; isOurs && !seen[imported] {
				seen[imported] = true
				walk(next, append(slices.Clone(way), next.folder()))
			}
		}
	}
	walk(p, []string{p.folder()})
	return problems
}

func TestRoomCheckFindsEachKindOfViolation(t *testing.T) {
	all := map[string]pkg{}
	add := func(folder string, imports ...string) pkg {
		p := pkg{ImportPath: ours(folder), Imports: imports}
		all[p.ImportPath] = p
		return p
	}
	add("storage", pebble)
	add("credential", "fmt")
	add("cluster/ring", "fmt")
	for _, c := range []struct {
		what string
		p    pkg
		bad  bool
	}{
		{"what it may", add("actors", ours("credential"), "context"), false},
		{"a folder that nobody knows", add("util", "fmt"), true},
		{"an engine, itself", add("actors/a", raft), true},
		{"an engine, through what wraps it", add("actors/b", ours("storage")), true},
		{"a part of an engine", add("httpapi/c", tink+"/aead"), true},
		{"what stands below", add("storage/d", ours("actors")), true},
		{"anything of ours, where it may not", add("wire/e", ours("credential")), true},
		{"the domain, in the command", add("cmd/node/f", ours("storage")), true},
		{"its own subfolder", add("storage/g", ours("storage")), false},
		{"another part of the cluster", add("cluster/gossip/h", ours("cluster/ring")), true},
		{"a part of the cluster without a room", add("cluster/new", "fmt"), true},
	} {
		if problems := checkRoom(all, c.p); (len(problems) > 0) != c.bad {
			t.Errorf("%s: found %q", c.what, problems)
		}
	}
}
