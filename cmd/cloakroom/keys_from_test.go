package main_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// TestPromise10_KeysFromEverySource: the service runs on keys from wherever they are
// kept, says so nowhere with a byte of them, and follows where they can be rotated.
func TestPromise10_KeysFromEverySource(t *testing.T) {
	k := keyring.Generate()
	bare := k.Text()[strings.LastIndexByte(k.Text(), ' ')+1:]
	t.Setenv("SECRET_KEYS", k.Text())
	t.Setenv("BARE_SECRET", bare)
	dir := t.TempDir()
	save := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := writeFile(path, text); err != nil {
			t.Fatal(err)
		}
		return path
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	identity := save("identity", []byte(id.String()))
	sealed := func(to age.Recipient) []byte {
		var b bytes.Buffer
		w, err := age.Encrypt(&b, to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(k.Text())); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	passphrase, err := age.NewScryptRecipient(goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	passphrase.SetWorkFactor(12)
	for _, flag := range []string{
		"--keys=env:SECRET_KEYS",
		"--keys=env:BARE_SECRET",
		"--keys-file=" + save("mounted", []byte(k.Text()+"\n")),
		"--keys=dotenv:" + save(".env", []byte("A=1\nexport KEYS='"+k.Text()+"' # ours\nB=2\n")) + "#KEYS",
		"--keys=age:" + save("keys.age", sealed(id.Recipient())) + "?identity-file=" + identity,
		"--keys=age:" + save("locked.age", sealed(passphrase)) + "?passphrase-file=" + save("passphrase", []byte(goodPassword)),
	} {
		t.Run(filepath.Base(flag), func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			s := start(t, data, flag)
			c := s.setup()
			code, out := command(t, data, "key", "rotate", flag)
			writable := strings.Contains(flag, "dotenv:") || strings.Contains(flag, "age:")
			if (code == 0) != writable {
				t.Errorf("key rotate: exit code %d: %s", code, out)
			}
			c.session() // nobody is signed out
			_, list := command(t, data, "key", "list", flag)
			if !strings.Contains(list, k.ID().String()) || strings.Contains(list, "retiring") != writable {
				t.Errorf("key list: %s", list)
			}
			if all := s.stdout.String() + s.stderr.String() + out + list; strings.Contains(all, bare) || strings.Contains(all, goodPassword) || strings.Contains(all, id.String()) {
				t.Error("a secret is told")
			}
		})
	}
}
