package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestDoctorAsTyped runs the doctor as an operator types it: testdata/doctor. The
// directory for temporary files is no place for data, and the doctor says so; hence
// another one.
func TestDoctorAsTyped(t *testing.T) {
	t.Parallel()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp(cache, "cloakroom-doctor-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	testscript.Run(t, testscript.Params{
		Dir:         filepath.Join("testdata", "doctor"),
		WorkdirRoot: root,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// doctor CODE ARGS... runs the doctor, which must end with CODE.
			"doctor": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				code := 0
				err = ts.Exec("cloakroom", append([]string{"doctor"}, args[1:]...)...)
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					code = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if code != want {
					ts.Fatalf("doctor %v ended with %d, want %d\n%s", args[1:], code, want, ts.ReadFile("stdout"))
				}
			},
		},
	})
}

// A visit without an account says what it did not look at, in both forms, and ends as
// it would have; with one it has looked at all.
func TestDoctorSaysHowFarTheVisitCame(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	s.setup()
	doctor := func(stdin string, args ...string) (string, int) {
		t.Helper()
		cmd := exec.Command(binary, append([]string{"doctor", "--url", s.URL}, args...)...)
		cmd.Dir, cmd.Stdin = s.cmd.Dir, strings.NewReader(stdin)
		out, err := cmd.Output()
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	type report struct {
		Checked    []string
		NotChecked []struct{ Check, Reason string } `json:"not_checked"`
	}
	read := func(text string) (r report) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return r
	}
	text, code := doctor("")
	if !strings.Contains(text, "Not checked\n\n  nobody signed in at the address of --url; with --user and --password-stdin somebody does:\n") ||
		!strings.Contains(text, "url-session-lost") || !strings.Contains(text, " not\n") {
		t.Errorf("without an account:\n%s", text)
	}
	document, same := doctor("", "--json")
	r := read(document)
	lost := func(n struct{ Check, Reason string }) bool { return n.Check == "url-session-lost" && n.Reason != "" }
	if !slices.Contains(r.Checked, "url-csp") || slices.Contains(r.Checked, "url-session-lost") || !slices.ContainsFunc(r.NotChecked, lost) {
		t.Errorf("without an account: %s", document)
	}
	document, with := doctor(goodPassword+"\n", "--json", "--user=ada", "--password-stdin")
	r = read(document)
	if !slices.Contains(r.Checked, "url-session-lost") || slices.ContainsFunc(r.NotChecked, lost) {
		t.Errorf("with an account: %s", document)
	}
	if code != with || same != with {
		t.Errorf("ended with %d and %d without an account, and with %d with one", code, same, with)
	}
}
