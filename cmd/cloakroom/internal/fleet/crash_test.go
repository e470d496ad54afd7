//go:build unix

package fleet_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
)

// The environment of a process that contends for the lease.
const (
	envKind    = "FLEET_TEST_KIND"
	envAddress = "FLEET_TEST_ADDRESS"
)

// crashLease is short; its holder stops a quarter before.
const crashLease = time.Second

func TestMain(m *testing.M) {
	if kind, err := strconv.Atoi(os.Getenv(envKind)); err == nil {
		contend(kind, os.Getenv(envAddress))
		os.Exit(1)
	}
	flag.Parse()
	flag.Set("test.parallel", "8") // they wait rather than work
	os.Exit(m.Run())
}

// contend leads when it can, and says so in lines: "thinks" once it has the lease, and
// a moment later "acts" if the lease is still its own, or "late".
func contend(kind int, address string) {
	db, err := kinds[kind].Open(context.Background(), address)
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := fleet.Open(context.Background(), db)
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		until, err := f.Lead(context.Background(), task, fmt.Sprint(os.Getpid()), time.Now(), crashLease)
		if err != nil {
			fmt.Println(err)
			return
		}
		if !until.IsZero() {
			fmt.Println("thinks")
			time.Sleep(200 * time.Millisecond)
			if time.Now().Before(until) {
				fmt.Println("acts")
			} else {
				fmt.Println("late")
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// process is a contender, and what it says.
type process struct {
	*exec.Cmd
	lines chan string
}

func start(t *testing.T, kind int, address string) *process {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	p := &process{exec.Command(exe), make(chan string, 1000)}
	p.Env = append(os.Environ(), envKind+"="+strconv.Itoa(kind), envAddress+"="+address)
	out, err := p.StdoutPipe()
	must(t, err)
	must(t, p.Cmd.Start())
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
		close(p.lines)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
	})
	return p
}

// next returns the next line of a process.
func (p *process) next(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok || line != "acts" && line != "thinks" && line != "late" {
			t.Fatalf("a contender ended: %q", line)
		}
		return line
	case <-time.After(10 * time.Second):
		t.Fatal("a contender says nothing")
	}
	return ""
}

// until waits for a line of a process.
func (p *process) until(t *testing.T, want string) {
	t.Helper()
	for p.next(t) != want {
	}
}

// freeze stops a process while it thinks.
func (p *process) freeze(t *testing.T) {
	t.Helper()
	for {
		for len(p.lines) > 0 {
			<-p.lines
		}
		p.until(t, "thinks")
		must(t, p.Process.Signal(syscall.SIGSTOP))
		time.Sleep(50 * time.Millisecond)
		if len(p.lines) == 0 {
			return
		}
		must(t, p.Process.Signal(syscall.SIGCONT)) // it was faster
	}
}

// A leader that is frozen while it thinks does not act when it wakes up, as another one
// leads by then; and one that is killed is replaced once its lease is over.
func TestFrozenAndKilledLeader(t *testing.T) {
	t.Parallel()
	for i, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			address := k.Address(t)
			a := start(t, i, address)
			a.until(t, "acts")
			b := start(t, i, address)
			a.freeze(t)
			b.until(t, "acts")
			must(t, a.Process.Signal(syscall.SIGCONT))
			if line := a.next(t); line != "late" {
				t.Errorf("another one leads, and it %s", line)
			}
			must(t, b.Process.Kill())
			a.until(t, "acts")
		})
	}
}
