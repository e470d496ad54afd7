package keyring_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// FuzzKeyFile reads anything as a key file. It never panics, what it reads can
// be written and read again, and what it refuses it does not show.
func FuzzKeyFile(f *testing.F) {
	// Made anew each time: a key in the seed corpus would be one that everybody
	// knows, and is accepted all the same.
	a, n := keyring.Generate().Text(), keyring.Generate().AsNext().Text()
	r := keyring.Generate().AsRetiring(time.Now().Add(time.Hour)).Text()
	f.Add(a)
	f.Add("# keys\n\n" + n + "\r\n\t" + a + " \n" + r + "\n")
	f.Add(a + "\n" + a + "\n" + strings.Replace(r, "until", "till", 1))
	f.Fuzz(func(t *testing.T, text string) {
		ring, err := keyring.Read(strings.NewReader(text))
		if err != nil && err.Error() == "" {
			t.Error("an error that says nothing")
		}
		keys, keysErr := keyring.ReadKeys(strings.NewReader(text))
		if keysErr != nil {
			if err == nil {
				t.Fatalf("Read accepts what ReadKeys refuses: %v", keysErr)
			}
			return
		}
		var written strings.Builder
		for _, k := range keys {
			written.WriteString(k.Text() + "\n")
		}
		again, againErr := keyring.ReadKeys(strings.NewReader(written.String()))
		if againErr != nil || len(again) != len(keys) {
			t.Fatalf("written anew, %d keys became %d: %v", len(keys), len(again), againErr)
		}
		for i := range keys {
			if again[i].Text() != keys[i].Text() {
				t.Fatalf("written anew, key %d is another", i)
			}
		}
		ring2, err2 := keyring.Read(strings.NewReader(written.String()))
		if (err == nil) != (err2 == nil) {
			t.Fatalf("read: %v; written anew and read: %v", err, err2)
		}
		if err == nil && (ring.Active() != ring2.Active() || len(ring.Keys()) != len(keys)) {
			t.Fatal("written anew, the ring is another")
		}
		if err != nil {
			for _, k := range keys {
				line := k.Text()
				if strings.Contains(err.Error(), line[len(line)-43:][:12]) {
					t.Fatal("the error shows a secret")
				}
			}
		}
	})
}

// FuzzBareSecret reads random bytes in any spelling, and among anything else. What is
// read is the key of these bytes; what is refused is not shown.
func FuzzBareSecret(f *testing.F) {
	for i := range len(encodings) - 1 {
		f.Add(sha256.New().Sum([]byte{byte(i)}), byte(i), "# comment\n", "\n")
	}
	f.Add([]byte("changeme"), byte(2), "\ufeff", "\r\n")
	f.Add(random(64), byte(6), "", "\nAAAA")
	f.Fuzz(func(t *testing.T, b []byte, form byte, before, after string) {
		text := encodings[1+int(form)%(len(encodings)-1)](b)
		ring, err := keyring.Read(strings.NewReader(before + text + after))
		keys, keysErr := keyring.ReadKeys(strings.NewReader(before + text + after))
		if err == nil && (keysErr != nil || len(keys) != len(ring.Keys()) || keys[0].ID() != ring.Active() && len(keys) == 1) {
			t.Fatalf("Read has %v, ReadKeys %v and %v", ring.Keys(), keys, keysErr)
		}
		if err != nil {
			for i := 0; i+12 <= min(len(text), 2000); i++ {
				if strings.Contains(err.Error(), text[i:i+12]) && !strings.Contains(before+after, text[i:i+12]) {
					t.Fatal("the error shows a part of the secret")
				}
			}
			return
		}
		// What surrounds the secret may make it another one, or bring key lines.
		if strings.Trim(before+after, " \t\r\n") != "" {
			return
		}
		want := b
		if len(b) > 32 {
			sum := sha256.Sum256(append([]byte("cloakroom bare secret\x00"), b...))
			want = sum[:]
		}
		if len(b) < 32 || ring.Active() != keyOf(t, [32]byte(want)).ID() || !ring.Keys()[0].Created.IsZero() {
			t.Fatalf("%d bytes are read as %v", len(b), ring.Keys())
		}
		written, err := keyring.Text(keys)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := keyring.Read(bytes.NewReader(written)); err != nil || again.Active() != ring.Active() {
			t.Fatalf("written as a key line: %v, %v", again, err)
		}
	})
}

// FuzzOpen opens anything. Data comes out only of what was sealed, byte for
// byte, with its own additional data and secret.
func FuzzOpen(f *testing.F) {
	keys, messages := goldenKeys(f), goldenMessages(f)
	ring := keyring.NewUnjudged(keys[0], keys[1], keys[2])
	purposes := []*keyring.Purpose{ring.Purpose("another")}
	for _, m := range messages {
		purposes = append(purposes, ring.Purpose(m.Label, m.Context...))
		f.Add([]byte(m.Sealed), []byte(m.AD), []byte(m.Secret))
		f.Add([]byte(m.SealedFor), []byte(m.AD), []byte(m.Secret))
	}
	f.Fuzz(func(t *testing.T, sealed, ad, secret []byte) {
		var openable, openableFor, signed bool
		for _, m := range messages {
			signed = signed || len(sealed) >= 16 && bytes.HasPrefix(m.Tag, sealed) && string(ad) == m.Message
			openable = openable || bytes.Equal(sealed, m.Sealed) && string(ad) == m.AD
			openableFor = openableFor || bytes.Equal(sealed, m.SealedFor) && string(ad) == m.AD && string(secret) == m.Secret
		}
		opened, openedFor := false, false
		for _, p := range purposes {
			msg, err := p.Open(sealed, ad)
			opened = opened || err == nil
			msgFor, errFor := p.OpenFor(secret, sealed, ad)
			openedFor = openedFor || errFor == nil
			if err != nil && (err != keyring.ErrOpen || msg != nil) || errFor != nil && (errFor != keyring.ErrOpen || msgFor != nil) {
				t.Fatalf("refused with %v and %v, but %d and %d bytes came out", err, errFor, len(msg), len(msgFor))
			}
			for _, k := range keys {
				if p.Verify(k.ID(), ad, sealed) && !signed {
					t.Fatal("a signature was forged")
				}
			}
		}
		if opened != openable || openedFor != openableFor {
			t.Fatalf("opened: %v, for a secret: %v; want %v, %v", opened, openedFor, openable, openableFor)
		}
	})
}
