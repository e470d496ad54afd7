package agekeys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/agekeys"
)

const password = "hunter2hunter2"

// save writes a file that is nobody else's.
func save(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func x25519(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func hybrid(t *testing.T) *age.HybridIdentity {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// byPassword encrypts at a cost that tests can bear.
func byPassword(t *testing.T, password string, cost int) *age.ScryptRecipient {
	t.Helper()
	r, err := age.NewScryptRecipient(password)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(cost)
	return r
}

// encrypt encrypts as the age command does.
func encrypt(t *testing.T, text []byte, armored bool, to ...age.Recipient) []byte {
	t.Helper()
	var b bytes.Buffer
	var out io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&b, io.NopCloser(nil)}
	if armored {
		out = armor.NewWriter(&b)
	}
	w, err := age.Encrypt(out, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t *testing.T, place string) keyring.Writer {
	t.Helper()
	src, err := agekeys.Open(place, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// forms are all the ways to encrypt keys, and the parameter that opens them.
func forms(t *testing.T) map[string]struct {
	to    age.Recipient
	param string
} {
	id, pq := x25519(t), hybrid(t)
	both := save(t, "identities", []byte("# mine\n"+id.String()+"\r\n\n"+pq.String()+"\n"))
	return map[string]struct {
		to    age.Recipient
		param string
	}{
		"X25519":     {id.Recipient(), "identity-file=" + both},
		"hybrid":     {pq.Recipient(), "identity-file=" + both},
		"passphrase": {byPassword(t, password, 10), "passphrase-file=" + save(t, "passphrase", []byte(password+"\n"))},
	}
}

func TestReadsWhatAgeWrites(t *testing.T) {
	k := keyring.Generate()
	for name, f := range forms(t) {
		for _, armored := range []bool{false, true} {
			path := save(t, "keys.age", encrypt(t, []byte(k.Text()+"\n"), armored, f.to))
			// It is encrypted: others may read it.
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			src := open(t, path+"?"+f.param)
			ring, err := keyring.Load(t.Context(), src)
			if err != nil || ring.Active() != k.ID() {
				t.Errorf("%s, armored %v: %v, %v", name, armored, ring, err)
			}
			if got := fmt.Sprint(src); got != "age:"+path {
				t.Errorf("is called %s", got)
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				secret := k.Text()[strings.LastIndexByte(k.Text(), ' ')+1:]
				if got := fmt.Sprintf(verb, src); strings.Contains(got, secret) || strings.Contains(got, password) {
					t.Errorf("%s prints %s", verb, got)
				}
			}
		}
	}
}

// Nothing prints a source that holds keys, whether it can be written to or not.
func TestPromise11_PrintingShowsNothing(t *testing.T) {
	id := x25519(t)
	text := keyring.Generate().Text()
	inner := &memory{encrypt(t, []byte(text), false, id.Recipient())}
	src, err := agekeys.New(inner, &agekeys.Options{IdentityFile: save(t, "identity", []byte(id.String()))})
	if err != nil {
		t.Fatal(err)
	}
	_, good := src.Read(t.Context())
	inner.text = encrypt(t, []byte(text), false, x25519(t).Recipient())
	if _, bad := src.Read(t.Context()); good != nil || bad == nil {
		t.Fatal(good, bad)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		// Its hashes are of what can be guessed.
		if got := fmt.Sprintf(verb, struct{ hidden *agekeys.Source }{src}); regexp.MustCompile(`([0-9]{1,3} ){31}`).MatchString(got) {
			t.Errorf("%s prints, where it is a field, %s", verb, got)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, src); len(got) > 10 {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

// TestGolden: what was encrypted once can be read for ever.
func TestGolden(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"identities", "passphrase"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		// A checkout does not keep the mode.
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, param := range map[string]string{
		"x25519.age": "identity-file=" + dir + "/identities", "x25519.asc": "identity-file=" + dir + "/identities",
		"hybrid.age": "identity-file=" + dir + "/identities", "passphrase.age": "passphrase-file=" + dir + "/passphrase",
	} {
		sealed, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		text, err := open(t, save(t, name, sealed)+"?"+param).Read(t.Context())
		if err != nil || string(text) != "# nothing but a comment\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// memory is a Source whose text a test sets.
type memory struct{ text []byte }

func (m *memory) Read(context.Context) ([]byte, error) { return m.text, nil }

// A ciphertext is decrypted once; what does not open is tried again when it or the
// secret changes. Another source's passphrase is waited for, and not for longer than
// the context says.
func TestAPassphraseCostsOnce(t *testing.T) {
	k := keyring.Generate()
	inner := &memory{encrypt(t, []byte(k.Text()), false, byPassword(t, password, 10))}
	path := save(t, "passphrase", []byte("wrong"))
	src, err := agekeys.New(inner, &agekeys.Options{PassphraseFile: path})
	if err != nil {
		t.Fatal(err)
	}
	read := func(want string) {
		t.Helper()
		// Under a turn that is taken, only what costs nothing can be told.
		for _, taken := range []bool{false, true} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if taken {
				agekeys.Turns <- struct{}{}
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			text, err := src.Read(ctx)
			cancel()
			if taken {
				<-agekeys.Turns
			}
			if want == "" && (err != nil || string(text) != k.Text()) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("turn taken %v: %q, %v, want %q", taken, text, err, want)
			}
		}
	}
	read("the passphrase is wrong")
	if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	read("")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	read("")
	text, err := src.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clear(text) // the caller's own
	read("")

	// Other keys have to be opened anew.
	if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	inner.text = encrypt(t, []byte(k.Text()), false, byPassword(t, password, 10))
	agekeys.Turns <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := src.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two passphrases are tried at once: %v", err)
	}
	done := make(chan error, 1)
	go func() { // one has the source, and waits for its turn
		_, err := src.Read(t.Context())
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := src.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reader waits for longer than its context: %v", err)
	}
	<-agekeys.Turns
	if err := <-done; err != nil {
		t.Error(err)
	}
	read("")
}
