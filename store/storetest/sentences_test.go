package storetest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/store/storetest"
)

// contract returns the comments of package store, each with its white space made
// one.
func contract(t *testing.T) (file *ast.File, text string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../store.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, c := range file.Comments {
		b.WriteString(oneLine(c.Text()))
		b.WriteByte('\n')
	}
	return file, b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestCasesQuoteTheContract(t *testing.T) {
	_, text := contract(t)
	for name, says := range storetest.Sentences() {
		if len(says) == 0 {
			t.Errorf("%s proves no sentence", name)
		}
		for _, s := range says {
			if !strings.Contains(text, s) {
				t.Errorf("%s: the contract does not say %q", name, s)
			}
		}
	}
}

// unproven are the sentences that only say what something is for.
var unproven = []string{
	"Store keeps sessions.",
	"Sweeper is a Store that does not forget by itself.",
	"Scanner is a Store that can be walked, for moving and counting.",
	"Record is a session as a store sees it.",
	"nothing", "live", "stored r.Version = 0 r.Version > 0",
	// Whoever does not ask for one moment has nothing to see.
	"It is no snapshot: each record is as it was at some moment of the call.",
}

func TestEverySentenceHasACase(t *testing.T) {
	file, _ := contract(t)
	quoted := slices.Concat(slices.Collect(maps.Values(storetest.Sentences()))...)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.GenDecl)
		if !ok || spec.Tok != token.TYPE {
			return true
		}
		name := spec.Specs[0].(*ast.TypeSpec).Name.Name
		if !slices.Contains([]string{"Store", "UserStore", "Sweeper", "Scanner", "Record"}, name) {
			return false
		}
		check := func(where string, doc *ast.CommentGroup) {
			for _, s := range sentences(doc.Text()) {
				if !slices.Contains(quoted, s) && !slices.Contains(unproven, s) {
					t.Errorf("no case proves what %s says: %q", where, s)
				}
			}
		}
		check(name, spec.Doc)
		if face, ok := spec.Specs[0].(*ast.TypeSpec).Type.(*ast.InterfaceType); ok {
			for _, method := range face.Methods.List {
				if len(method.Names) > 0 {
					check(name+"."+method.Names[0].Name, method.Doc)
				}
			}
		}
		return false
	})
}

// sentences cuts a comment at its full stops, and a table into its rows.
func sentences(doc string) (list []string) {
	end := regexp.MustCompile(`\. +`)
	for paragraph := range strings.SplitSeq(doc, "\n\n") {
		if strings.HasPrefix(paragraph, "\t") {
			for row := range strings.Lines(paragraph) {
				list = append(list, oneLine(row))
			}
			continue
		}
		for s := range strings.SplitSeq(end.ReplaceAllString(oneLine(paragraph), ".\n"), "\n") {
			list = append(list, s)
		}
	}
	return list
}

// TestEveryCaseCanFail looks that there is a broken store for each case.
func TestEveryCaseCanFail(t *testing.T) {
	failed := map[string]bool{}
	for _, m := range mutants() {
		for _, name := range m.fails {
			failed[name] = true
		}
	}
	for name := range storetest.Sentences() {
		if !failed[name] {
			t.Errorf("no broken store shows that %s can fail", name)
		}
	}
}
