package services

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Kind is what a server is. Its value is the word for it in messages.
type Kind string

// The kinds of servers.
const (
	PostgresKind  Kind = "postgres"
	MariaDBKind   Kind = "mariadb"
	RedisKind     Kind = "redis"
	MemcachedKind Kind = "memcached"
)

// Kinds are all of them.
var Kinds = []Kind{PostgresKind, MariaDBKind, RedisKind, MemcachedKind}

// patience is how long a server may take to answer for the first time: a machine
// that runs all tests at once is slow.
const patience = 60 * time.Second

// Server is one running server. Its exported fields are what another process
// needs to use it.
type Server struct {
	Kind     Kind
	Dir      string // where it keeps everything
	Port     int    // on 127.0.0.1
	Password string // of the user cloakroom, and of the administrator

	args    []string
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process is gone
	output  *os.File
	made    bool // the data directory
	tlsDir  string
	stopped []int // the processes that Freeze has stopped
}

// Start starts a server of the test's own and ends it with the test. The
// arguments follow those that this package gives the server's command, and so
// win over them. For a durable one: "-c", "fsync=on" for PostgreSQL,
// "--innodb-flush-log-at-trx-commit=1" for MariaDB, "--appendonly", "yes" for
// Redis; without, what the kernel has not written may be lost with the machine,
// but not with the process.
func Start(t testing.TB, kind Kind, args ...string) *Server { return start(t, kind, "", args) }

// StartTLS is Start with TLS, under the certificate of [TLS], in the directory that
// it returns. PostgreSQL and MariaDB offer it, Redis and Memcached take nothing else.
func StartTLS(t testing.TB, kind Kind, args ...string) (s *Server, dir string) {
	dir = TLS(t)
	return start(t, kind, dir, args), dir
}

func start(t testing.TB, kind Kind, tlsDir string, args []string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "cloakroom") // not t.TempDir: a socket's path is 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(kind, dir, tlsDir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// newServer prepares a server in a new directory below dir.
func newServer(kind Kind, dir, tlsDir string, args ...string) (*Server, error) {
	s := &Server{Kind: kind, Dir: filepath.Join(dir, string(kind)), Password: rand.Text(), args: args, tlsDir: tlsDir}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	if uid, gid, ok := unprivileged(); ok {
		if err := os.Chown(s.Dir, uid, gid); err != nil {
			return nil, fmt.Errorf("services: %w", err)
		}
	}
	return s, nil
}

// unprivileged is who servers run as if the tests run as root, since some refuse
// to be root.
func unprivileged() (uid, gid int, ok bool) {
	if os.Getuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return 0, 0, false
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid, true
}

// command is one of a server's programs, as the user that it runs as.
func (s *Server) command(name string, args ...string) (*exec.Cmd, error) {
	path, err := find(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), "PGPASSWORD="+s.Password, "MYSQL_PWD="+s.Password, "HOME="+s.Dir)
	cmd.SysProcAttr = ownProcess()
	return cmd, nil
}

// Command is a program that is of none of the kinds, to run as their servers do: as
// nobody if the tests run as root, and in a directory of its own, cmd.Dir, which is
// removed with the test.
func Command(t testing.TB, path string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "cloakroom")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if uid, gid, ok := unprivileged(); ok {
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.SysProcAttr = dir, ownProcess()
	return cmd
}

// find looks for a server's program where Debian puts it, beside the usual places.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, dir := range append(places, "/usr/sbin", "/usr/local/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("services: no %s on this machine: `scripts/services install` gets it", name)
}

// run runs one of a server's programs to its end.
func (s *Server) run(stdin, name string, args ...string) error {
	cmd, err := s.command(name, args...)
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("services: %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// start makes the data directory the first time, starts the server and waits
// until it answers. A port is free when it is chosen and may be gone when the
// server asks for it: the first start tries others.
func (s *Server) start() error {
	m := makers[s.Kind]
	if !s.made && m.make != nil {
		if err := m.make(s); err != nil {
			return err
		}
	}
	var err error
	for range 5 {
		if !s.made {
			if s.Port, err = freePort(); err != nil {
				return err
			}
		}
		if err = s.launch(m); err == nil || s.made || !strings.Contains(err.Error(), "ddress already in use") {
			break
		}
	}
	if err != nil {
		return err
	}
	if !s.made && m.setUp != nil {
		if err := m.setUp(s); err != nil {
			return err
		}
	}
	s.made = true
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("services: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// launch starts the process and waits until the server answers.
func (s *Server) launch(m maker) error {
	name, args := m.serve(s)
	cmd, err := s.command(name, append(args, s.args...)...)
	if err != nil {
		return err
	}
	if s.output, err = os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	cmd.Stdout, cmd.Stderr = s.output, s.output
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("services: start %s: %w", s.Kind, err)
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(s.exited)
	}()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if err = m.ping(s); err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("services: %s has ended: %s", s.Kind, s.lastWords())
		default:
		}
		if time.Now().After(end) {
			s.kill()
			return fmt.Errorf("services: %s does not answer: %w: %s", s.Kind, err, s.lastWords())
		}
	}
}

// lastWords is the end of the server's log, in one line.
func (s *Server) lastWords() string {
	b, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	b = b[max(0, len(b)-500):]
	return strings.Join(strings.Fields(string(b)), " ")
}

// Addr is the server's address, host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// URL is how a client reaches the server: that of PostgreSQL and MariaDB names
// the database cloakroom, which belongs to the user in the URL.
func (s *Server) URL() string { return s.URLAt(s.Addr()) }

// URLAt is URL through another address, that of a proxy.
func (s *Server) URLAt(addr string) string { return makers[s.Kind].url(s, addr, "cloakroom") }

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Start starts the server again after Kill, on the same port and data.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server and its children with SIGKILL, and waits until it is gone.
func (s *Server) Kill(t testing.TB) { t.Helper(); s.kill() }

func (s *Server) kill() {
	if s.cmd == nil {
		return
	}
	_ = sendStop(s.PID()) // so that it makes no child that the list would lack
	pids := s.processes()
	for _, pid := range pids {
		_ = sendKill(pid)
	}
	<-s.exited
	// PostgreSQL does not start while a child of the one before holds its memory.
	for end := time.Now().Add(patience); slices.ContainsFunc(pids, alive) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_ = s.output.Close()
	s.cmd, s.stopped = nil, nil
}

// Freeze stops the server and its children with SIGSTOP: it takes connections,
// as the kernel does that, and answers nothing.
func (s *Server) Freeze(t testing.TB) {
	t.Helper()
	s.stopped = s.processes()
	for _, pid := range s.stopped {
		if err := sendStop(pid); err != nil {
			t.Fatal(err)
		}
	}
	// The signal is under way to each thread: wait for the last.
	for _, pid := range s.stopped {
		for !stoppedAll(pid) {
			time.Sleep(time.Millisecond)
		}
	}
}

// stoppedAll reports whether every thread of a process has stopped, or the process
// is gone, or there is no /proc to tell.
func stoppedAll(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/stat", pid))
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state …; the name may hold anything.
		if state := bytes.TrimSpace(b[bytes.LastIndexByte(b, ')')+1:]); len(state) > 0 && !bytes.ContainsRune([]byte("TtZX"), rune(state[0])) {
			return false
		}
	}
	return true
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw(t testing.TB) {
	t.Helper()
	for _, pid := range s.stopped {
		if err := sendContinue(pid); err != nil {
			t.Fatal(err)
		}
	}
	s.stopped = nil
}

// processes are the server and its descendants: each of PostgreSQL's connections
// is a process, in a process group of its own.
func (s *Server) processes() []int {
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent …; the name may hold anything.
		_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		if f := strings.Fields(rest); len(f) > 1 {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			parents[pid], _ = strconv.Atoi(f[1])
		}
	}
	list := []int{s.PID()}
	for i := 0; i < len(list); i++ {
		for pid, parent := range parents {
			if parent == list[i] {
				list = append(list, pid)
			}
		}
	}
	return list
}

// alive tells whether a process runs; one that has ended and that nobody has asked
// about does not.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return err == nil && !bytes.HasPrefix(rest, []byte("Z")) && !bytes.HasPrefix(rest, []byte("X"))
}

// Database makes a database, drops it at the end of the test and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name, m := Prefix(t), makers[s.Kind]
	if m.create == nil {
		t.Fatalf("%s has no databases", s.Kind)
	}
	if err := m.create(s, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.drop(s, name); err != nil {
			t.Error(err)
		}
	})
	return m.url(s, s.Addr(), name)
}

// Admin runs SQL as the server's administrator, in the database of a URL that
// Database or URL has returned: roles and rights are his.
func (s *Server) Admin(t testing.TB, url, sql string) {
	t.Helper()
	name, _, _ := strings.Cut(url[strings.LastIndexByte(url, '/')+1:], "?")
	if err := makers[s.Kind].sql(s, name, sql); err != nil {
		t.Fatal(err)
	}
}

// dial asks a server that speaks lines and reads the beginning of the answer.
func (s *Server) dial(ask, want string) error {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if ask == "" {
		return nil // it speaks TLS: that it listens must do
	}
	if _, err := io.WriteString(conn, ask); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("answers %q", got)
	}
	return nil
}
