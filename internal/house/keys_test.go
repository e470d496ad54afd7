package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// product calls f for each file of the module that is part of a program that uses it:
// no tests, nothing that only tests and examples use.
func product(t *testing.T, f func(name string, file *ast.File)) {
	t.Helper()
	top := root(t)
	apart := []string{"bench", "examples", "tools", "internal/services", "internal/faultproxy", "internal/canary", "store/storetest",
		"throttle/throttletest", "store/sqlstore/internal/wiretest", ".git"}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		name = filepath.ToSlash(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains(apart, name) || d.Name() == "testdata" || strings.HasPrefix(d.Name(), "cloakroom-data")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			f(name, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// keysPage returns the rows of a table of docs/keys.md, without heading and line.
func keysPage(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(root(t), "docs/keys.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(doc), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no part %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	for line := range strings.Lines(part) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) < 3 {
		t.Fatalf("no table in %q", heading)
	}
	return rows[2:]
}

// TestASVS_11_1_2_InventoryOfPurposes, and with it 11.1.1: the page on keys names each
// purpose that keys are derived for, and no other.
func TestASVS_11_1_2_InventoryOfPurposes(t *testing.T) {
	var used []string
	labels := map[string]string{} // constants that are labels
	var named []string            // constants that are handed over
	product(t, func(name string, file *ast.File) {
		if strings.HasPrefix(name, "keyring/") {
			return // where purposes are made of whatever comes
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, id := range n.Names {
					if lit, ok := value(n, i).(*ast.BasicLit); ok && lit.Kind == token.STRING {
						labels[id.Name], _ = strconv.Unquote(lit.Value)
					}
				}
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || sel.Sel.Name != "Purpose" || len(n.Args) == 0 {
					return true
				}
				switch arg := n.Args[0].(type) {
				case *ast.BasicLit:
					label, _ := strconv.Unquote(arg.Value)
					used = append(used, label)
				case *ast.Ident:
					named = append(named, arg.Name)
				}
			}
			return true
		})
	})
	for _, name := range named {
		if label, ok := labels[name]; ok {
			used = append(used, label)
		} else if name != "label" { // Manager.Purpose hands on what it is given
			t.Errorf("a purpose with the label %s, which is no constant", name)
		}
	}
	var told []string
	for _, row := range keysPage(t, "What the keys are for") {
		told = append(told, row[0])
	}
	slices.Sort(used)
	slices.Sort(told)
	if used = slices.Compact(used); !slices.Equal(used, told) {
		t.Errorf("docs/keys.md tells\n%q\nand the code has\n%q", told, used)
	}
}

// TestASVS_11_1_1_PolicyOfKeys: the page says of the ring who makes it, whose it is, where
// it is kept, how long it is used, how it ends and what is done when it leaks (SP 800-57
// part 1, 8.1 to 8.3), and of each purpose how long it goes on.
func TestASVS_11_1_1_PolicyOfKeys(t *testing.T) {
	told := map[string]string{}
	for _, row := range keysPage(t, "The key ring") {
		told[row[0]] = row[1]
	}
	for _, name := range []string{"made by", "belongs to", "kept", "in use", "afterwards", "destroyed", "leaked"} {
		if told[name] == "" {
			t.Errorf("nothing is said of %q", name)
		}
	}
	for _, row := range keysPage(t, "What the keys are for") {
		if len(row) != 5 || slices.Contains(row, "") {
			t.Errorf("%s: something is not said: %q", row[0], row)
		}
	}
}

func value(spec *ast.ValueSpec, i int) ast.Expr {
	if i < len(spec.Values) {
		return spec.Values[i]
	}
	return nil
}

// TestASVS_11_5_1_RandomValues: the page on keys names each random value, where it is
// made; what has to be unguessable has 128 bits, and all come from crypto/rand.
func TestASVS_11_5_1_RandomValues(t *testing.T) {
	made := map[string]int{}
	product(t, func(name string, file *ast.File) {
		secure := false
		for _, imp := range file.Imports {
			secure = secure || imp.Path.Value == `"crypto/rand"`
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "rand" && secure {
				made[name]++
			}
			return true
		})
	})
	told := map[string]int{}
	bits := regexp.MustCompile(`^\d+$`)
	for _, row := range keysPage(t, "Random values") {
		told[row[2]]++
		n, err := strconv.Atoi(row[1])
		if !bits.MatchString(row[1]) || err != nil {
			t.Errorf("%s: %q is no number of bits", row[0], row[1])
		}
		if row[3] == "yes" && n < 128 {
			t.Errorf("%s has %d bits, want 128 at least", row[0], n)
		}
	}
	for name, n := range made {
		if told[name] != n {
			t.Errorf("%s makes %d random values, and docs/keys.md tells %d of them", name, n, told[name])
		}
	}
	for name := range told {
		if made[name] == 0 {
			t.Errorf("%s makes none of the values that docs/keys.md tells", name)
		}
	}
}

// TestASVS_11_5_1_MathRandGuardsNothing: what comes from math/rand is told here, with why
// it may be guessed.
func TestASVS_11_5_1_MathRandGuardsNothing(t *testing.T) {
	may := map[string]string{
		"commit.go":                     "how long to wait after a conflict",
		"keyring/rotate.go":             "how long to wait before keys are edited again",
		"store/breaker/breaker.go":      "when to ask a store again",
		"store/memcachestore/sample.go": "which sessions are looked at, to tell how large they are",
		"throttle/lane.go":              "tells two states of a counter apart",

		"store/sqlstore/internal/server/server.go": "how long to wait before a statement is run again",
		"store/sqlstore/sqlite/writer.go":          "likewise",
	}
	product(t, func(name string, file *ast.File) {
		for _, imp := range file.Imports {
			if strings.HasPrefix(imp.Path.Value, `"math/rand`) {
				if may[name] == "" {
					t.Errorf("%s imports math/rand: is what it makes no secret? Tell it here", name)
				}
				delete(may, name)
			}
		}
	})
	for name := range may {
		t.Errorf("%s does not import math/rand any more", name)
	}
}
