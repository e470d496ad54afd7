package agekeys_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"strings"
	"testing"

	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/agekeys"
)

// TestSSH: what is encrypted to a public SSH key is opened with the private one, and
// written back to it. One with a passphrase is refused, with what to do.
func TestSSH(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{ed, long} {
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		to, err := agessh.ParseRecipient(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
		if err != nil {
			t.Fatal(err)
		}
		old, next := keyring.Generate().Text()+"\n", keyring.Generate().Text()+"\n"
		place := save(t, "keys.age", encrypt(t, []byte(old), false, to)) + "?identity-file="
		src := open(t, place+save(t, "id", pem.EncodeToMemory(block)))
		if err := src.Write(t.Context(), []byte(old), []byte(next)); err != nil {
			t.Fatal(err)
		}
		if text, err := src.Read(t.Context()); err != nil || string(text) != next {
			t.Errorf("%T: %v", key, err)
		}
		locked, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(password))
		if err != nil {
			t.Fatal(err)
		}
		other, err := agekeys.Open(place+save(t, "id", pem.EncodeToMemory(locked)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "has a passphrase") || strings.Contains(err.Error(), password) {
			t.Errorf("%T with a passphrase: %v", key, err)
		}
	}
}
