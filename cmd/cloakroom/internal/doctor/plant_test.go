package doctor_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fault is something wrong with a site that is well otherwise.
type fault struct {
	name  string
	plant func(s *site)
	want  []string // the checks that find it, as "error key-mode"
}

// found are the findings as "error key-mode", each once.
func found(r *doctor.Report) []string {
	var list []string
	for _, f := range r.Findings {
		list = append(list, f.Level.String()+" "+f.Check)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// golden gathers the texts of findings by the name of the fault, and compares them
// with a file, without what differs from run to run.
type golden struct {
	mu    sync.Mutex
	texts map[string]string
}

var (
	keyIDs = regexp.MustCompile(`\b[0-9a-f]{8}\b`)
	dates  = regexp.MustCompile(`\b20\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?Z)?`)
	ports  = regexp.MustCompile(`127\.0\.0\.1:\d{4,5}(/\w+)?`)
	users  = regexp.MustCompile(`(user|this is) \d+`)
	clocks = regexp.MustCompile(`machine is \S+ `)
	names  = regexp.MustCompile(`database=\w+`)
	memory = regexp.MustCompile(`uses \d+ MiB of \d+`)
	times  = regexp.MustCompile(`takes [0-9.]+m?s`)
)

func (g *golden) add(s *site, name string, r *doctor.Report) {
	var text strings.Builder
	if err := (&doctor.Report{Findings: r.Findings}).WriteText(&text); err != nil {
		s.t.Error(err)
	}
	out, _, _ := strings.Cut(text.String(), "0 checks made")
	out = strings.TrimRight(out, "; \n")
	out = strings.ReplaceAll(out, s.dir, "DIR")
	for _, re := range []struct {
		re *regexp.Regexp
		to string
	}{{dates, "DATE"}, {keyIDs, "KEY"}, {ports, "SERVER"}, {times, "takes TIME"}, {clocks, "machine is TIME "}, {names, "database=NAME"}, {memory, "uses N MiB of N"}, {users, "$1 UID"}} {
		out = re.re.ReplaceAllString(out, re.to)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.texts == nil {
		g.texts = make(map[string]string)
	}
	g.texts[name] = out
}

// compare compares with the file, in the order of names.
func (g *golden) compare(t *testing.T, file string) {
	t.Helper()
	var b bytes.Buffer
	names := make([]string, 0, len(g.texts))
	for name := range g.texts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString("=== " + name + "\n" + g.texts[name] + "\n\n")
	}
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, b.Bytes()) {
		t.Errorf("the findings read otherwise than testdata/%s says; if that is meant: go test -run %s -args -update\n%s", file, t.Name(), differing(string(want), b.String()))
	}
}

// differing is the first lines that differ.
func differing(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "want: " + a[i] + "\ngot:  " + b[i]
		}
	}
	return "one is longer"
}

// A healthy site has no findings, and whatever is planted is found, and nothing else.
func TestDoctorFindsWhatIsPlanted(t *testing.T) {
	faults := slices.Concat(settingFaults, fileFaults, keyFaults, sourceFaults, databaseFaults, tlsFaults)
	if len(faults) < 25 {
		t.Fatalf("%d faults", len(faults))
	}
	var g golden
	t.Run("planted", func(t *testing.T) {
		for _, f := range append(faults, fault{"healthy", func(*site) {}, nil}) {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				f.plant(s)
				r := s.run()
				want := slices.Sorted(slices.Values(f.want))
				if got := found(r); !slices.Equal(got, want) {
					var text strings.Builder
					r.WriteText(&text)
					t.Errorf("found %q, want %q\n%s", got, want, text.String())
				}
				if len(f.want) == 0 && len(r.NotChecked) > 0 {
					t.Errorf("not checked on a healthy site: %v", r.NotChecked)
				}
				s.noSecrets(r, "Pa55word1", "c4nary-of-a-token")
				g.add(s, f.name, r)
			})
		}
	})
	g.compare(t, "findings.txt")
}

// Every check of files, settings and databases is the finder of some fault here or in
// the tests with servers.
func TestEveryCheckHasAFault(t *testing.T) {
	var all []string
	for _, f := range slices.Concat(settingFaults, fileFaults, keyFaults, sourceFaults, databaseFaults, tlsFaults) {
		all = append(all, f.want...)
	}
	for _, f := range serverFaults {
		all = append(all, f.want...)
	}
	for _, c := range doctor.Checks {
		if !slices.ContainsFunc(all, func(want string) bool { return strings.HasSuffix(want, " "+c.ID) }) {
			t.Errorf("no test plants a fault that %s finds", c.ID)
		}
	}
	for _, f := range all {
		level, _, _ := strings.Cut(f, " ")
		if level != finding.Error.String() && level != finding.Warning.String() && level != finding.OK.String() {
			t.Errorf("no level: %s", f)
		}
	}
}
