// Package house_test holds the module to its own rules: which package may import
// which, what a program that imports a package gets with it, how long a file and
// a function may be.
package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cloakroom-dev/cloakroom"

// A room is a package's place in the house.
type room struct {
	// floor: the package imports only floors below its own.
	floor int
	// also names siblings, on its own floor, that it may import nevertheless.
	also []string
}

// house is the place of every package, by its directory; a directory's place is
// that of the nearest one above it that is named. The root package is ".".
var house = map[string]room{
	"keyring":                {floor: 1},
	"keyring/agekeys":        {floor: 1, also: []string{"keyring"}},
	"keyring/dotenv":         {floor: 1, also: []string{"keyring"}},
	"keyring/vault":          {floor: 1, also: []string{"keyring", "internal/remote"}},
	"keyring/awssecrets":     {floor: 1, also: []string{"keyring", "internal/remote"}},
	"keyring/gcpsecrets":     {floor: 1, also: []string{"keyring", "internal/remote"}},
	"password":               {floor: 1},
	"throttle":               {floor: 1},
	"throttle/sqlthrottle":   {floor: 1, also: []string{"throttle", "store/sqlstore"}},
	"store":                  {floor: 1},
	"store/storetest":        {floor: 1},
	"store/memstore":         {floor: 1},
	"store/sqlstore":         {floor: 1},
	"store/sqlstore/sqlite":  {floor: 1},
	"store/redisstore":       {floor: 1},
	"store/memcachestore":    {floor: 1},
	"store/breaker":          {floor: 1},
	"internal/services":      {floor: 0}, // of tests, as is the next
	"internal/faultproxy":    {floor: 0},
	"internal/databases":     {floor: 1, also: []string{"store/sqlstore", "store/sqlstore/sqlite"}}, // of tests as well
	"internal/canary":        {floor: 0},                                                            // likewise: finds secrets in what is let out
	"internal/deadline":      {floor: 0},                                                            // bounds calls of a store, for the breaker and the root
	"internal/link":          {floor: 0},                                                            // the way to a server, for the packages of stores
	"internal/remote":        {floor: 1},                                                            // what sources at secret managers have in common
	"internal/secretfile":    {floor: 0, also: []string{"internal/guessable"}},                      // files that nobody else may read
	"internal/guessable":     {floor: 0},                                                            // judges secrets, and what looks like one
	"internal/event":         {floor: 1, also: []string{"store"}},                                   // names sessions by their handle
	"internal/problem":       {floor: 1},
	".":                      {floor: 4}, // its files are the floors 2 to 4
	"sessiontest":            {floor: 4, also: []string{"."}},
	"csrf":                   {floor: 5},
	"auth":                   {floor: 5},
	"auth/sqlusers":          {floor: 5},
	"interop":                {floor: 5},
	"gateway":                {floor: 6},
	"cmd/cloakroom/internal": {floor: 7},
	"cmd/cloakroom":          {floor: 8},
	"examples":               {floor: 9},
	"internal/house":         {floor: 9},
	"internal/promises":      {floor: 9}, // tests of the whole
}

// light are the packages that bring no driver, SDK or toolkit into a program:
// the standard library, x/crypto, x/text, and what those two stand on. Their
// tests bring none either, since the tests of a dependency count for go.sum.
var light = []string{
	".", "auth", "csrf", "internal/event", "internal/problem", "keyring", "password",
	"sessiontest", "store", "store/breaker", "store/memstore", "throttle",
}

// allowed are the modules that a light package may reach. golang.org/x/sys/cpu is
// how x/crypto asks the processor what it can do.
func allowed(path string) bool {
	for _, m := range []string{module, "golang.org/x/crypto", "golang.org/x/text"} {
		if path == m || strings.HasPrefix(path, m+"/") {
			return true
		}
	}
	return path == "golang.org/x/sys/cpu"
}

// pkg is what is needed of a package of `go list -json`.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// load asks the go command for packages, their tests, and all that they reach.
func load(t *testing.T, patterns ...string) map[string]pkg {
	t.Helper()
	// -e: a package that does not compile is judged as well.
	args := append([]string{"list", "-e", "-deps", "-test",
		"-json=ImportPath,Standard,Imports"}, patterns...)
	cmd := exec.Command("go", args...)
	cmd.Dir = root(t)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	pkgs := map[string]pkg{}
	for dec := json.NewDecoder(&out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[p.ImportPath] = p
	}
}

// root is the directory with go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// plain turns "path [other.test]", a package compiled for a test, into "path",
// and an external test package into the package whose directory it shares.
func plain(path string) (name string, test bool) {
	name, variant, _ := strings.Cut(path, " ")
	name, main := strings.CutSuffix(name, ".test")
	name, external := strings.CutSuffix(name, "_test")
	return name, main || external || variant != ""
}

// dir is a package's directory in the module, "." for the root, "" for a package
// of another module.
func dir(path string) string {
	if path == module {
		return "."
	}
	d, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return d
}

// place finds the room of a directory.
func place(house map[string]room, d string) (room, string, bool) {
	for at := d; at != "."; {
		if r, ok := house[at]; ok {
			return r, at, true
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			break
		}
		at = at[:i]
	}
	r, ok := house[d]
	return r, d, ok
}

// arrow judges one import within the module: "" is fine.
func arrow(house map[string]room, from, to string, test bool) string {
	a, aName, ok := place(house, from)
	if !ok {
		return fmt.Sprintf("%s stands on no floor: give it one", from)
	}
	b, bName, ok := place(house, to)
	if !ok {
		return fmt.Sprintf("%s stands on no floor: give it one", to)
	}
	switch {
	case b.floor < a.floor, from == to:
		return ""
	case b.floor > a.floor:
		return fmt.Sprintf("%s (floor %d) imports %s (floor %d): an arrow upwards", from, a.floor, to, b.floor)
	case test, aName == bName, strings.HasPrefix(from, to+"/"), slices.Contains(a.also, bName):
		return "" // a test looks at its neighbours, a chamber at the room it is part of
	}
	return fmt.Sprintf("%s imports its sibling %s (floor %d)", from, to, a.floor)
}

// arrows judges every import within the module.
func arrows(house map[string]room, pkgs map[string]pkg) []string {
	var faults []string
	for _, p := range pkgs {
		name, test := plain(p.ImportPath)
		from := dir(name)
		if from == "" || strings.HasSuffix(p.ImportPath, ".test") {
			continue // another module, or the main package that go test writes
		}
		for _, imp := range p.Imports {
			to, _ := plain(imp)
			if d := dir(to); d != "" {
				if fault := arrow(house, from, d, test); fault != "" {
					faults = append(faults, fault)
				}
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

// strangers names what a light package must not bring along.
func strangers(pkgs map[string]pkg) []string {
	var faults []string
	for _, p := range pkgs {
		if p.Standard {
			continue
		}
		name, _ := plain(p.ImportPath)
		for _, imp := range p.Imports {
			to, _ := plain(imp)
			if q, ok := pkgs[imp]; ok && !q.Standard && !allowed(to) {
				faults = append(faults, fmt.Sprintf("%s imports %s", name, to))
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

func TestPackagesImportOnlyFloorsBelow(t *testing.T) {
	pkgs := load(t, "./...")
	for _, fault := range arrows(house, pkgs) {
		t.Error(fault)
	}
	for _, p := range pkgs {
		if name, _ := plain(p.ImportPath); dir(name) != "" {
			if _, _, ok := place(house, dir(name)); !ok {
				t.Errorf("%s stands on no floor: give it one", dir(name))
			}
		}
	}
}

func TestLightPackagesBringNoModules(t *testing.T) {
	for _, d := range light {
		if _, err := os.Stat(filepath.Join(root(t), d)); errors.Is(err, os.ErrNotExist) {
			continue // not built yet
		}
		for _, fault := range strangers(load(t, "./"+d)) {
			t.Errorf("whoever imports %s gets more than it: %s", d, fault)
		}
	}
}

// The test above is worth something only if it fails when an arrow is added.
func TestAnAddedArrowIsFound(t *testing.T) {
	imports := func(from string, to ...string) map[string]pkg {
		pkgs := map[string]pkg{from: {ImportPath: from, Imports: to}}
		for _, p := range to {
			pkgs[p] = pkg{ImportPath: p, Standard: !strings.Contains(p, ".")}
		}
		return pkgs
	}
	m := func(d string) string { return module + "/" + d }
	for _, c := range []struct {
		from, to string
		fault    bool
	}{
		{module, m("store"), false},
		{module, m("csrf"), true},
		{module + " [" + module + ".test]", m("csrf"), true},
		{module + "_test [" + module + ".test]", m("auth"), true},
		{m("store/memstore"), m("store"), false},
		{m("store/memstore"), m("store/storetest"), true},
		{m("store/memstore_test") + " [" + m("store/memstore") + ".test]", m("store/storetest"), false},
		{m("store"), m("store/memstore"), true},
		{m("keyring"), m("store"), true},
		{m("keyring"), module, true},
		{m("auth"), m("csrf"), true},
		{m("auth/sqlusers"), m("auth"), false},
		{m("auth"), m("auth/sqlusers"), true},
		{m("store/sqlstore/sqlite"), m("store/sqlstore"), false},
		{m("store/sqlstore/sqlite"), m("store/memstore"), true},
		{m("internal/event"), m("store"), false},
		{m("internal/event"), m("store/memstore"), true},
		{m("csrf"), module, false},
		{m("cmd/cloakroom"), m("cmd/cloakroom/internal/web"), false},
		{m("cmd/cloakroom/internal/web"), m("cmd/cloakroom"), true},
		{m("csrf"), m("cmd/cloakroom/internal/web"), true},
		{m("attic"), m("store"), true},
		{m("csrf"), m("attic"), true},
	} {
		got := arrows(house, imports(c.from, c.to))
		if (len(got) > 0) != c.fault {
			t.Errorf("%s imports %s: faults %q, want some: %t", c.from, c.to, got, c.fault)
		}
	}
	for to, fault := range map[string]bool{
		"net/http": false, "golang.org/x/crypto/argon2": false, "golang.org/x/text/unicode/norm": false,
		"golang.org/x/sys/cpu": false, m("store"): false,
		"golang.org/x/sys/unix": true, "golang.org/x/net/html": true, "modernc.org/sqlite": true,
		"golang.org/x/crypto.evil/a": true,
	} {
		if got := strangers(imports(m("csrf"), to)); (len(got) > 0) != fault {
			t.Errorf("csrf imports %s: faults %q, want some: %t", to, got, fault)
		}
	}
}
