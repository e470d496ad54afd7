package doctor_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor"
)

// The page for operators has a row for every check, in their order, with their words.
// With -args -update it is written anew.
func TestDocsNameEveryCheck(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("| check | finds |\n| --- | --- |\n")
	for _, c := range doctor.Checks {
		rows.WriteString("| `" + c.ID + "` | " + c.Looks + " |\n")
	}
	path := filepath.Join("..", "..", "..", "..", "docs", "operations.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?m)^\| check \| finds \|\n(\|.*\n)+`)
	at := table.FindIndex(page)
	if at == nil {
		t.Fatal("docs/operations.md has no table of checks")
	}
	if string(page[at[0]:at[1]]) == rows.String() {
		return
	}
	if !*update {
		t.Fatalf("the table of checks in docs/operations.md is not that of the code: go test -run %s -args -update", t.Name())
	}
	page = append(page[:at[0]:at[0]], append([]byte(rows.String()), page[at[1]:]...)...)
	if err := os.WriteFile(path, page, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A check is named once, in lower case with hyphens, and says what and why.
func TestChecksAreNamedOnce(t *testing.T) {
	shape := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := make(map[string]bool)
	for _, c := range doctor.Checks {
		if seen[c.ID] || !shape.MatchString(c.ID) || c.Looks == "" || c.Why == "" {
			t.Errorf("%+v", c)
		}
		seen[c.ID] = true
	}
}
