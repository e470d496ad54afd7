package house_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// requirement is a row of docs/requirements.md.
type requirement struct {
	kind  string // ASVS, NIST or Attack
	id    string // as it stands there: 7.4.1, §3.1.1.2-blk1, A01
	state string // held, later: …, does not apply: …
}

// mark is the beginning of the names of its tests.
func (r requirement) mark() string {
	return "Test" + r.kind + "_" + strings.NewReplacer("§", "", ".", "_", "-", "_").Replace(r.id)
}

// requirements reads the tables of the page. Which table a row is in, its id tells.
func requirements(doc string) (all []requirement, faults []string) {
	kinds := map[string]*regexp.Regexp{
		"ASVS":   regexp.MustCompile(`^\d+\.\d+\.\d+$`),
		"NIST":   regexp.MustCompile(`^§\d+(\.\d+)+-[0-9a-z]+$`),
		"Attack": regexp.MustCompile(`^A\d\d$`),
	}
	state := regexp.MustCompile(`^(held|(later|does not apply): .+)$`)
	seen := make(map[string]bool)
	for line := range strings.Lines(doc) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.HasPrefix(line, "| id ") || strings.HasPrefix(line, "| ---") {
			if strings.HasPrefix(line, "|") && len(cells) != 5 {
				faults = append(faults, "a row of other than three cells: "+line)
			}
			continue
		}
		r := requirement{id: strings.TrimSpace(cells[1]), state: strings.TrimSpace(cells[3])}
		for kind, form := range kinds {
			if form.MatchString(r.id) {
				r.kind = kind
			}
		}
		switch {
		case r.kind == "":
			faults = append(faults, "no id: "+r.id)
		case !state.MatchString(r.state):
			faults = append(faults, r.id+" has no state: "+r.state)
		case seen[r.mark()]:
			faults = append(faults, r.id+" stands there twice")
		}
		seen[r.mark()] = true
		all = append(all, r)
	}
	return all, faults
}

// of is the requirement whose number the name of a test carries: the longest that
// fits, as §5.1.1-1 begins like §5.1-1. A letter behind that of an attack is a part of it.
func of(name string, all []requirement) (best requirement) {
	name = regexp.MustCompile(`^(TestAttack_A\d\d)([a-z]_)`).ReplaceAllString(name, "${1}_$2")
	for _, r := range all {
		if strings.HasPrefix(name, r.mark()+"_") && len(r.mark()) > len(best.mark()) {
			best = r
		}
	}
	return best
}

// unproven compares what is said to be held with the tests that there are.
func unproven(all []requirement, tests []string) (faults []string) {
	tested := make(map[requirement]bool)
	for _, name := range tests {
		r := of(name, all)
		tested[r] = true
		switch {
		case r.kind == "":
			faults = append(faults, name+" carries no number of the page")
		case r.state != "held":
			faults = append(faults, fmt.Sprintf("%s: %s is not held but %q", name, r.id, r.state))
		case regexp.MustCompile(`^\d|^(ASVS|NIST|Attack)_`).MatchString(name[len(r.mark())+1:]):
			faults = append(faults, name+" carries another number behind "+r.id)
		}
	}
	for _, r := range all {
		if r.state == "held" && !tested[r] {
			faults = append(faults, r.id+" is said to be held, and no test is called "+r.mark()+"_…")
		}
	}
	return faults
}

// numbered are the tests whose names carry a number, in all packages.
func numbered(t *testing.T) (requirements, promises []string) {
	t.Helper()
	name := regexp.MustCompile(`^Test(ASVS|NIST|Attack)_|^TestPromise`)
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root(t) && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || d.Name() == "bench") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && name.MatchString(fn.Name.Name) {
				if strings.HasPrefix(fn.Name.Name, "TestPromise") {
					promises = append(promises, fn.Name.Name)
				} else {
					requirements = append(requirements, fn.Name.Name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return requirements, promises
}

func TestEveryRequirementThatIsHeldHasATest(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root(t), "docs", "requirements.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, faults := requirements(string(doc))
	tests, promises := numbered(t)
	for _, fault := range append(faults, unproven(all, tests)...) {
		t.Error(fault)
	}
	for n := 1; n <= 60; n++ {
		if id := fmt.Sprintf("A%02d", n); !slices.ContainsFunc(all, func(r requirement) bool { return r.id == id }) {
			t.Errorf("attack %s is missing", id)
		}
	}
	kept := make(map[string]bool)
	for _, name := range promises {
		kept[name[:len("TestPromise00")]] = true
	}
	for n := 1; n <= 12; n++ {
		delete(kept, fmt.Sprintf("TestPromise%02d", n))
	}
	if len(kept) > 0 {
		t.Errorf("tests of promises that are none of the twelve: %q", slices.Collect(maps.Keys(kept)))
	}
	if len(all) < 200 || len(tests) < 300 {
		t.Errorf("only %d rows and %d tests", len(all), len(tests))
	}
}

// What the script counts is what stands on the page.
func TestTheCountOfRequirementsIsThatOfThePage(t *testing.T) {
	script := exec.Command(filepath.Join(root(t), "scripts", "prove"), "count")
	out, err := script.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	doc, err := os.ReadFile(filepath.Join(root(t), "docs", "requirements.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, _ := requirements(string(doc))
	n := make(map[string]int)
	for _, r := range all {
		word, _, _ := strings.Cut(r.state, ":")
		if n[word]++; word == "held" {
			n[r.kind]++
		}
	}
	for _, want := range []string{
		fmt.Sprintf("ASVS %d of %[1]d", n["ASVS"]), fmt.Sprintf("NIST %d of %[1]d", n["NIST"]), fmt.Sprintf("attacks %d of %[1]d", n["Attack"]),
		fmt.Sprintf("later: %d", n["later"]), fmt.Sprintf("does not apply: %d", n["does not apply"]), "promises 12 of 12",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

func TestUnprovenRequirementsAreFound(t *testing.T) {
	all, faults := requirements("| id | in short | state |\n| --- | --- | --- |\n| 7.4.1 | a | held |\n| 7.4.2 | a | later: x |\n| §5.1-1 | a | held |\n| §5.1.1-1 | a | held |\n| A01 | a | held |\n")
	if len(all) != 5 || len(faults) != 0 {
		t.Fatalf("%v %q", all, faults)
	}
	good := []string{"TestASVS_7_4_1_Words", "TestNIST_5_1_1_Words", "TestNIST_5_1_1_1_Words", "TestAttack_A01_Words", "TestAttack_A01b_Words"}
	if got := unproven(all, good); len(got) != 0 {
		t.Errorf("%q", got)
	}
	for _, tests := range [][]string{
		good[1:], good[:3], slices.Delete(slices.Clone(good), 1, 2), // a test is missing
		append(slices.Clone(good), "TestASVS_7_4_2_Words"),   // of what is not held
		append(slices.Clone(good), "TestASVS_7_4_9_Words"),   // of what does not stand there
		append(slices.Clone(good), "TestAttack_Words"),       // of nothing
		append(slices.Clone(good), "TestASVS_7_4_1_7_4_2_W"), // of two at once
	} {
		if got := unproven(all, tests); len(got) != 1 {
			t.Errorf("%q: %q", tests, got)
		}
	}
	for _, doc := range []string{"| 7.4.1 | a |\n", "| 7.4.1 | a | perhaps |\n", "| 7.4 | a | held |\n", "| A01 | a | held |\n| A01 | b | later: x |\n", "| A01 | a | later: |\n"} {
		if _, faults := requirements(doc); len(faults) != 1 {
			t.Errorf("%q: %q", doc, faults)
		}
	}
}
