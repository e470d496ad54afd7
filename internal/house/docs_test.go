package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// events reads the names of the log inventory from the constants of
// internal/event.
func events(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), "internal/event/names.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		return true
	})
	if len(names) == 0 {
		t.Fatal("no events found")
	}
	return names
}

// inventory is the names in the first column of the tables below a heading of
// Markdown that speaks of the log inventory.
func inventory(doc string) []string {
	heading := regexp.MustCompile(`^#+ `)
	row := regexp.MustCompile("^\\| *`([^`]+)` *\\|")
	var names []string
	within := false
	for line := range strings.Lines(doc) {
		if heading.MatchString(line) {
			within = strings.Contains(strings.ToLower(line), "log inventory")
		} else if m := row.FindStringSubmatch(line); within && m != nil {
			names = append(names, m[1])
		}
	}
	return names
}

// drift compares the inventory in the docs with the events that exist.
func drift(documented, events []string) []string {
	var faults []string
	for _, name := range events {
		if !slices.Contains(documented, name) {
			faults = append(faults, "the log inventory lacks "+name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(events, name) {
			faults = append(faults, "the log inventory names "+name+", which nothing writes")
		}
	}
	return faults
}

// An operator builds alerts on the inventory (ASVS 16.1.1): one page of the docs
// has it, complete.
func TestASVS_16_1_1_LogInventoryOfTheDocsIsThatOfTheCode(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root(t), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages {
		doc, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if documented := inventory(string(doc)); documented != nil {
			found++
			for _, fault := range drift(documented, events(t)) {
				t.Errorf("docs/%s: %s", filepath.Base(page), fault)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d pages of the docs have a log inventory, want one", found)
	}
}

func TestADriftOfTheLogInventoryIsFound(t *testing.T) {
	doc := "# Operations\n| `other` | x |\n## The log inventory\n| event | when |\n|---|---|\n| `login` | a |\n| `gone` | b |\n## Next\n| `more` | c |\n"
	got := inventory(doc)
	if !slices.Equal(got, []string{"login", "gone"}) {
		t.Errorf("inventory is %q", got)
	}
	if faults := drift(got, []string{"login", "logout"}); len(faults) != 2 {
		t.Errorf("faults: %q", faults)
	}
	if faults := drift(got, got); len(faults) != 0 {
		t.Errorf("faults: %q", faults)
	}
}
