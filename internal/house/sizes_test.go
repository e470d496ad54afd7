package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// How long what a reader has to take in at once may be, in lines.
const (
	maxFile = 450
	maxFunc = 60
)

// sources calls f for each Go file of the module that is no test. Modules of
// their own below it, as the pinned tools are, and test data do not count.
func sources(t *testing.T, f func(path string)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if path == top {
				return nil
			}
			_, other := os.Stat(filepath.Join(path, "go.mod"))
			if name := d.Name(); other == nil || name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return fs.SkipDir
			}
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			f(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAndFunctionsStayShort(t *testing.T) {
	n := 0
	sources(t, func(path string) {
		n++
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		name, _ := filepath.Rel(root(t), path)
		if lines := fset.File(file.Pos()).LineCount(); lines > maxFile {
			t.Errorf("%s has %d lines, at most %d: is there a room of its own in it?", name, lines, maxFile)
		}
		for _, fn := range functions(file) {
			from, to := fset.Position(fn.node.Pos()).Line, fset.Position(fn.node.End()).Line
			if to-from+1 > maxFunc {
				t.Errorf("%s:%d: %s has %d lines, at most %d", name, from, fn.name, to-from+1, maxFunc)
			}
		}
	})
	if n == 0 {
		t.Error("no source was found")
	}
}

type function struct {
	name string
	node ast.Node
}

// functions lists the functions of a file. One that only returns a table of
// functions, as a suite of tests does, is read entry by entry: there the entries
// are measured.
func functions(file *ast.File) []function {
	var all []function
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		if !isTable(fn) {
			all = append(all, function{fn.Name.Name, fn})
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if lit, ok := n.(*ast.FuncLit); ok {
				all = append(all, function{"a function in " + fn.Name.Name, lit})
				return false
			}
			return true
		})
	}
	return all
}

// isTable reports a function whose one statement returns something.
func isTable(fn *ast.FuncDecl) bool {
	if len(fn.Body.List) != 1 {
		return false
	}
	_, ok := fn.Body.List[0].(*ast.ReturnStmt)
	return ok
}
