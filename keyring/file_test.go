package keyring_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// TestMain lets the test binary stand for other processes of a program.
func TestMain(m *testing.M) {
	switch os.Getenv("KEYRING_TEST_PROCESS") {
	case "":
		os.Exit(m.Run())
	case "open":
		openProcess(os.Getenv("KEYRING_TEST_DIR"))
	case "nolink":
		secretfile.Link = noLink
		openProcess(os.Getenv("KEYRING_TEST_DIR"))
	case "edit":
		if err := announceEach(filepath.Join(os.Getenv("KEYRING_TEST_DIR"), "keys"), 3); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "read":
		ring, err := readFile(filepath.Join(os.Getenv("KEYRING_TEST_DIR"), "keys"))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(ring.Active())
	case "norandom":
		// A source of random bytes that fails ends the process.
		crand.Reader = iotest.ErrReader(errors.New("no random bytes"))
		fmt.Println(keyring.Generate())
	}
}

// openProcess waits for the file "go" and opens the key file then.
func openProcess(dir string) {
	for {
		if _, err := os.Stat(filepath.Join(dir, "go")); err == nil {
			break
		}
	}
	ring, err := keyring.OpenFile(filepath.Join(dir, "keys"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(ring.Active())
}

// process starts the test binary as one of the processes above.
func process(name, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KEYRING_TEST_PROCESS="+name, "KEYRING_TEST_DIR="+dir)
	return cmd
}

func noLink(oldname, newname string) error {
	return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: errors.ErrUnsupported}
}

// setLink puts another function in the place of os.Link until the test ends.
func setLink(t *testing.T, link func(oldname, newname string) error) {
	secretfile.Link = link
	t.Cleanup(func() { secretfile.Link = os.Link })
}

// readFile reads a key file, and makes none.
func readFile(path string) (*keyring.Ring, error) {
	return keyring.Load(context.Background(), keyring.File(path))
}

// put writes a key file: a new one, or other keys into one that is there.
func put(path string, keys ...keyring.Key) error {
	text, err := keyring.Text(keys)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return os.WriteFile(path, text, 0o600)
	}
	_, err = keyring.Edit(context.Background(), keyring.File(path), func([]keyring.Key) ([]keyring.Key, error) { return keys, nil })
	return err
}

// names lists a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// writeKeys writes a key file of mode 0600 and returns its path.
func writeKeys(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenFileMakesAKeyOnceAndKeepsIt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	first, err := keyring.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := keyring.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	third, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if second.Active() != first.Active() || third.Active() != first.Active() || len(first.Keys()) != 1 {
		t.Error("the second start has another key than the first")
	}
	again, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(text, again) {
		t.Error("the second start wrote to the file")
	}
	if names(t, dir) != "keys" {
		t.Errorf("beside the key file lies: %s", names(t, dir))
	}
}

func TestLoadNeverMakesAFile(t *testing.T) {
	dir := t.TempDir()
	_, err := readFile(filepath.Join(dir, "keys"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "cloakroom key new") {
		t.Errorf("error is %v", err)
	}
	if names(t, dir) != "" {
		t.Errorf("it made %s", names(t, dir))
	}
}

// Nothing is repaired by making a new key: that would sign everybody out.
func TestOpenFileNeverOverwrites(t *testing.T) {
	for name, text := range map[string]string{
		"empty file":   "",
		"no key":       "# keys\n",
		"cut line":     keyring.Generate().Text()[:50],
		"no active":    keyring.Generate().AsNext().Text(),
		"another file": "PATH=/usr/bin\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := writeKeys(t, text)
			if _, err := keyring.OpenFile(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error is %v", err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("the file was changed to %q, %v", got, err)
			}
		})
	}
	dir := t.TempDir()
	if _, err := keyring.OpenFile(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := keyring.OpenFile(filepath.Join(dir, "missing", "keys")); err == nil {
		t.Error("a file in a directory that does not exist")
	}
	if names(t, dir) != "" {
		t.Errorf("it left %s", names(t, dir))
	}
}

// Promise 10: no key is made up silently per process. Of all that start at once
// one makes the file, and all have its key.
func TestPromise10_RacingStartsEndWithOneKey(t *testing.T) {
	race := func(t *testing.T) {
		for range 20 {
			dir := t.TempDir()
			var wg sync.WaitGroup
			start := make(chan struct{})
			ids := make([]keyring.KeyID, 16)
			for i := range ids {
				wg.Go(func() {
					<-start
					ring, err := keyring.OpenFile(filepath.Join(dir, "keys"))
					if err != nil {
						t.Error(err)
						return
					}
					ids[i] = ring.Active()
				})
			}
			close(start)
			wg.Wait()
			for _, id := range ids {
				if id != ids[0] {
					t.Fatalf("two starts ended with the keys %v and %v", ids[0], id)
				}
			}
			if names(t, dir) != "keys" {
				t.Fatalf("beside the key file lies: %s", names(t, dir))
			}
		}
	}
	t.Run("goroutines", race)
	t.Run("goroutines without hard links", func(t *testing.T) {
		setLink(t, noLink)
		race(t)
	})
	for _, kind := range []string{"open", "nolink"} {
		t.Run("processes, "+kind, func(t *testing.T) {
			dir := t.TempDir()
			outs := make([]bytes.Buffer, 6)
			cmds := make([]*exec.Cmd, len(outs))
			for i := range cmds {
				cmds[i] = process(kind, dir)
				cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
				if err := cmds[i].Start(); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for i := range cmds {
				if err := cmds[i].Wait(); err != nil {
					t.Errorf("process %d: %v: %s", i, err, &outs[i])
				}
			}
			ring, err := readFile(filepath.Join(dir, "keys"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range outs {
				if got := strings.TrimSpace(outs[i].String()); got != ring.Active().String() {
					t.Errorf("process %d has the key %s, in the file is %v", i, got, ring.Active())
				}
			}
			if names(t, dir) != "go keys" {
				t.Errorf("in the directory lies: %s", names(t, dir))
			}
		})
	}
}

func TestLockLeftBehindIsNamed(t *testing.T) {
	setLink(t, noLink)
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// It is waited for, in case that another process holds it.
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := keyring.OpenFile(path)
		if err == nil || !strings.Contains(err.Error(), "keys.lock\" is in the way; remove it") {
			t.Errorf("error is %v", err)
		}
		if waited := time.Since(start); waited < time.Second || waited > 5*time.Second {
			t.Errorf("it gave up after %v", waited)
		}
	})
}

func TestAttack_A12_FailingRandomSourceMakesNoKey(t *testing.T) {
	out, err := process("norandom", "").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || bytes.Contains(out, []byte("key:")) {
		t.Errorf("the process went on: %v, %s", err, out)
	}

	// A source that returns anything but random bytes makes no key either.
	defer func(r io.Reader) { crand.Reader = r }(crand.Reader)
	crand.Reader = zeroReader{}
	defer func() {
		if recover() == nil {
			t.Error("a key was made of zero bytes")
		}
	}()
	keyring.Generate()
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestReadTellsEveryFaultWithItsLine(t *testing.T) {
	a, b, n := keyring.Generate(), keyring.Generate(), keyring.Generate().AsNext()
	cut := b.Text()[:len(b.Text())-4]
	text := strings.Join([]string{
		"# comment", a.Text(), "", "password=CanaryCanary", "\t" + b.Text() + " \r", cut, n.Text(), n.Text(),
		strings.Replace(n.Text(), "-v1 ", "-v7 ", 1),
	}, "\n")
	_, err := keyring.Read(strings.NewReader(text))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"keyring: read keys: ",
		"line 4: not a key line: it has to begin with cloakroom-key-v1",
		"line 5: key is active as well as the one of line 2",
		"line 6: secret has to be 32 bytes",
		"line 8: key has the same id as the one of line 7",
		"line 9: key is of another version",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != 5 {
		t.Errorf("error tells %d faults, not 5:\n%v", got, err)
	}
	for _, k := range []keyring.Key{a, b, n} {
		f := strings.Fields(k.Text())
		if strings.Contains(err.Error(), "Canary") || strings.Contains(err.Error(), f[4][:8]) {
			t.Errorf("error shows a part of a line:\n%v", err)
		}
	}
	for text, want := range map[string]string{
		"":                                     "there is no key; put in the line that cloakroom key new prints",
		"# nothing but a comment":              "there is no key",
		n.Text():                               "no key is active",
		"\xff\xfec\x00":                        "UTF-16",
		strings.Repeat("# comment\n", 7000):    "more than 64 KiB",
		strings.Repeat("nonsense\n", 1000):     "and 980 more faults",
		strings.Repeat(n.Text()+"\n", 100):     "100 keys are too many",
		a.AsRetiring(time.Now()).Text() + "\n": "no key is active",
	} {
		if _, err := keyring.Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %.300v, want it to say %q", err, want)
		}
	}
	failed := errors.New("device failed")
	if _, err := keyring.Read(iotest.ErrReader(failed)); !errors.Is(err, failed) {
		t.Errorf("a failing reader: %v", err)
	}
	if _, err := keyring.Read(endless{}); err == nil {
		t.Error("an endless reader was read to its end")
	}
}

// endless is /dev/zero.
type endless struct{ zeroReader }

func TestReadTakesWhatEditorsMake(t *testing.T) {
	a, n := keyring.Generate(), keyring.Generate().AsNext()
	text := "\ufeff# made with an editor\r\n\r\n  " + n.Text() + "\t\r\n" + strings.ReplaceAll(a.Text(), " ", " \t ") + "  \r\n  # end"
	ring, err := keyring.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if ring.Active() != a.ID() || !ring.Has(n.ID()) || len(ring.Keys()) != 2 {
		t.Errorf("read %+v", ring.Keys())
	}
}

func TestEditRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := keyring.OpenFile(path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.ReadKeys(f)
	f.Close()
	if err != nil || len(keys) != 1 {
		t.Fatalf("ReadKeys: %v, %v", keys, err)
	}
	young, until := keyring.Generate(), time.Now().Add(24*time.Hour).UTC().Truncate(time.Second)
	if err := put(path, young, keys[0].AsRetiring(until)); err != nil {
		t.Fatal(err)
	}
	ring, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	infos := ring.Keys()
	if len(infos) != 2 || infos[0].ID != young.ID() || infos[1].ID != keys[0].ID() || infos[1].State != keyring.Retiring || !infos[1].Until.Equal(until) {
		t.Errorf("written %+v", infos)
	}

	// What a ring would refuse is not written.
	before, _ := os.ReadFile(path)
	for _, err := range []error{
		put(path, keyring.Key{}),
		put(path, young.AsNext()),
		put(path, young, young.AsNext()),
		put(filepath.Join(filepath.Dir(path), "missing", "keys"), young),
		put(filepath.Dir(path), young),
	} {
		if err == nil {
			t.Error("keys that no ring takes, or a place that is none, were accepted")
		}
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("refused keys changed the file")
	}
	if names(t, filepath.Dir(path)) != "keys" {
		t.Errorf("beside the key file lies: %s", names(t, filepath.Dir(path)))
	}
}
