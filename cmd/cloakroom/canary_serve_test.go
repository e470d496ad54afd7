package main_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// exposed is a running service whose keys are known, with all that it lets out.
type exposed struct {
	*leaks
	s     *server
	dir   string
	path  string // of its key file
	flag  string
	admin string // where it tells how it does
}

var adminLine = regexp.MustCompile(`addr"?[=:]"?(127\.0\.0\.1:\d+)"? ?,?"?serves`)

// expose starts a service on a file of three keys: that signs, is next and retires.
func expose(t *testing.T, format string) *exposed {
	e := &exposed{leaks: &leaks{t: t}, dir: t.TempDir()}
	e.path = filepath.Join(e.dir, "the-keys")
	e.flag = "--keys=file:" + e.path
	k := keyring.Generate()
	text, err := keyring.Text([]keyring.Key{k, keyring.Generate().AsNext(), keyring.Generate().AsRetiring(time.Now().Add(time.Hour))})
	if err == nil {
		err = os.WriteFile(e.path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if e.learn() != 3 {
		t.Fatal("three keys are wanted")
	}
	e.s = start(t, e.dir, e.flag, "--log-format="+format, "--admin-listen=127.0.0.1:0", "--pepper=true")
	e.admin = "http://" + e.s.logged(adminLine)
	return e
}

// learn makes the keys of the file known to the search.
func (e *exposed) learn() int {
	e.t.Helper()
	text, err := os.ReadFile(e.path)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.keys("key", string(text))
}

// ask keeps what the admin listener tells.
func (e *exposed) ask() {
	e.t.Helper()
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		res, err := http.Get(e.admin + path)
		if err != nil {
			e.t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			e.t.Fatal(err)
		}
		e.keep(path, string(text), fmt.Sprint(res.Header))
	}
}

// visit is what people and administrators do, well and badly.
func (e *exposed) visit() {
	e.t.Helper()
	ada := e.s.setup()
	addUser(e.t, e.dir, "bob", e.flag, "--pepper=true")
	bob := e.s.client().login("bob", goodPassword)
	c := e.s.client()
	c.want(c.do("POST", "/auth/login", credentials("bob", "wrong")), 401)
	c.do("GET", "/auth/session", "", "Cookie", "__Host-session="+strings.Repeat("A", 71))
	c.do("GET", "/auth/session", "", "Cookie", "__Host-session="+bob.secret().Value[:70]+"A")
	for _, path := range []string{"/auth/profile", "/auth/sessions", "/auth/admin", "/auth/admin/users", "/auth/admin/sessions", "/auth/admin/audit", "/auth/login"} {
		ada.page(path)
		bob.page(path)
	}
	bob.want(bob.change(goodPassword, goodPassword+" 2"), 204)
	ada.do("POST", "/auth/logout", "{}", "X-CSRF-Token", ada.csrf)
}

// spoil puts into the key file, one after the other, what it should not hold, tells the
// service to look, and asks everything about it. The good file is back afterwards.
func (e *exposed) spoil() {
	e.t.Helper()
	good, err := os.ReadFile(e.path)
	if err != nil {
		e.t.Fatal(err)
	}
	for name, text := range spoilt(string(good)) {
		if err := os.WriteFile(e.path, []byte(text), 0o600); err != nil {
			e.t.Fatal(err)
		}
		if err := e.s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			e.t.Fatal(err)
		}
		for _, args := range [][]string{{"key", "list"}, {"doctor"}, {"key", "rotate"}, {"doctor", "--json"}, {"serve", "--listen=127.0.0.1:0"}} {
			if args[0] != "key" && len(name)%2 == len(args)%2 { // a process takes its time
				continue
			}
			if _, _, code := e.run(e.dir, nil, false, append(args, e.flag)...); code == 0 {
				e.t.Errorf("%v is content with %s", args, name)
			}
		}
	}
	e.s.logged(regexp.MustCompile(`(keys_failed)`))
	e.ask()
	if err := os.WriteFile(e.path, good, 0o600); err != nil {
		e.t.Fatal(err)
	}
	if err := e.s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		e.t.Fatal(err)
	}
	e.s.logged(regexp.MustCompile(`(keys_up)`))
}

// spoilt are texts of key files with something wrong, by what it is.
func spoilt(good string) map[string]string {
	var lines []string
	for line := range strings.Lines(good) {
		if strings.HasPrefix(line, "cloakroom-key-v1") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	line := lines[0]
	bare := line[strings.LastIndexByte(line, ' ')+1:]
	raw, _ := base64.RawURLEncoding.DecodeString(bare)
	return map[string]string{
		"a line cut":       line[:len(line)-2],
		"no marker":        strings.TrimPrefix(line, "cloakroom-key-v1 "),
		"a later version":  strings.Replace(line, "-v1", "-v9", 1),
		"another id":       strings.Replace(line, strings.Fields(line)[1], "00000000", 1),
		"two active":       strings.ReplaceAll(strings.Join(lines, "\n"), " next ", " active "),
		"the same twice":   line + "\n" + line,
		"bare beside":      line + "\n" + bare,
		"bare, cut":        bare[:40],
		"a setting":        "SECRET_KEYS=" + bare,
		"JSON":             `{"keys": ["` + line + `"]}`,
		"hex, cut":         hex.EncodeToString(raw)[:60],
		"the bytes":        string(raw),
		"all on one line":  strings.Join(lines, " "),
		"a secret's words": strings.ReplaceAll(line, " ", "\n"),
	}
}

// rotate goes through all that the commands do with keys. Those that print keys do it on
// standard output alone.
func (e *exposed) rotate() {
	e.t.Helper()
	for _, args := range [][]string{
		{"key", "list"}, {"key", "list", "--json"}, {"key", "rotate"}, {"key", "rotate", "--rollback"}, {"key", "rotate"}, {"key", "list"},
		{"doctor"}, {"doctor", "--json"}, {"user", "list", "--json"}, {"session", "list", "--json"}, {"audit", "list"}, {"audit", "verify"}, {"setup-link"}, {"user", "disable", "bob"},
	} {
		_, msg, code := e.run(e.dir, nil, false, append(args, e.flag)...)
		if code != 0 && args[0] != "doctor" && args[0] != "setup-link" {
			e.t.Errorf("%v: exit code %d: %s", args, code, msg)
		}
		if args[0] == "key" {
			e.learn()
			e.ask()
		}
	}
	for _, args := range [][]string{{"key", "new"}, {"key", "rotate", "--print", "--next"}} {
		out, msg, code := e.run(e.dir, nil, true, append(args, e.flag)...)
		if code != 0 || e.keys("printed", out) == 0 {
			e.t.Errorf("%v: exit code %d: %s", args, code, msg)
		}
	}
	list, _, _ := e.run(e.dir, nil, false, "key", "list", e.flag)
	active := regexp.MustCompile(`(?m)^([0-9a-f]{8})\S* +active`).FindStringSubmatch(list)
	if active == nil {
		e.t.Fatal(list)
	}
	if _, msg, code := e.run(e.dir, nil, false, "key", "retire", "--now", active[1], e.flag); code != 0 {
		e.t.Errorf("key retire: exit code %d: %s", code, msg)
	}
	e.learn()
	if out, msg, code := e.run(e.dir, nil, false, "audit", "export", e.flag); code != 0 || !strings.Contains(out, active[1]) {
		e.t.Errorf("audit export: exit code %d: %s%s", code, out, msg)
	}
}

// files keeps the bytes of all that lies beside the key file.
func (e *exposed) files() (names []string) {
	e.t.Helper()
	err := filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == e.path {
			return err
		}
		text, err := os.ReadFile(path)
		e.keep(path, string(text))
		names = append(names, d.Name())
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return names
}

// TestPromise11_KeysAppearNowhere: all that has to do with keys is done with a service at
// level debug, and its log, answers, metrics, commands, database and, in the end, the
// crash dump of a signal show no byte of any key, in whatever way it is written.
func TestPromise11_KeysAppearNowhere(t *testing.T) {
	t.Setenv("GOTRACEBACK", "system") // the stacks of everything, with registers
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			e := expose(t, format)
			e.visit()
			e.spoil()
			e.rotate()
			e.ask()
			if names := strings.Join(e.files(), " "); !strings.Contains(names, "cloakroom.db cloakroom.db-shm cloakroom.db-wal") {
				t.Errorf("only the files %s", names)
			}
			if code := e.s.end(syscall.SIGQUIT); code != 2 {
				t.Errorf("exit code %d", code)
			}
			e.files()
			e.keep("standard output", e.s.stdout.String())
			log := e.s.stderr.String()
			e.keep("log", log)
			for _, want := range []string{"keys_changed", "keys_failed", "keys_up", "SIGQUIT: quit", "goroutine ", "rip "} {
				if !strings.Contains(log, want) && (want != "rip " || !strings.Contains(log, "pc ")) {
					t.Errorf("no %q in the log", want)
				}
			}
			for _, a := range e.s.answers {
				e.keep(a.Request.Method+" "+a.Request.URL.Path, fmt.Sprint(a.Header), a.body)
			}
			e.judge(300_000)
		})
	}
}
