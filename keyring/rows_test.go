package keyring_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// Everything that is written down says how it was made: the key line and the sealed
// message by a version, each by the key. So a key, a bare secret, and some day a suite,
// is exchanged for another while what the old one made goes on being accepted; and what
// is newer than the program is refused as such, and not read as something else.
func TestASVS_11_2_2_KeysAndFormatsAreExchangedWithoutOutage(t *testing.T) {
	old, err := keyring.Read(strings.NewReader(encodings[1](random(32))))
	if err != nil {
		t.Fatal(err)
	}
	p := old.Purpose("test")
	id, tag := p.Sign([]byte("message"))
	sealed := p.Seal([]byte("message"), nil)

	// A line of the next version beside ours: the whole is refused, with the reason, and
	// a ring that follows such a source keeps what it has.
	line := keyring.Generate().Text()
	newer := strings.Replace(line, "-v1 ", "-v2 ", 1)
	if _, err := keyring.Read(strings.NewReader(line + "\n" + newer)); err == nil ||
		!strings.Contains(err.Error(), "line 2: key is of another version of the format; a newer cloakroom may read it") {
		t.Errorf("a key line of version 2: %v", err)
	}
	for _, version := range []byte{0, 2, 255} {
		other := bytes.Clone(sealed)
		other[0] = version
		if _, ok := keyring.SealedBy(other); ok {
			t.Errorf("a message of version %d is taken for one of version 1", version)
		}
		msg, err := p.Open(other, nil)
		refused(t, "a message of another version", msg, err)
	}

	// [old] → [new, old] → [new]: accepted, made anew with the new one, refused.
	src := &memory{text: []byte(textOf(keyring.ActiveKey(old)))}
	for _, step := range []func([]keyring.Key) ([]keyring.Key, error){
		func(keys []keyring.Key) ([]keyring.Key, error) { return keyring.Announce(keys, keyring.Generate()) },
		func(keys []keyring.Key) ([]keyring.Key, error) {
			return keyring.Activate(keys, time.Now().Add(time.Hour))
		},
	} {
		if _, err := keyring.Edit(t.Context(), src, step); err != nil {
			t.Fatal(err)
		}
	}
	both, err := keyring.Load(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	q := both.Purpose("test")
	msg, err := q.Open(sealed, nil)
	if err != nil || string(msg) != "message" || !q.Verify(id, []byte("message"), tag[:]) {
		t.Errorf("what the old secret made is refused: %v", err)
	}
	newID, newTag := q.Sign([]byte("message"))
	if newID == id {
		t.Error("the old secret goes on signing")
	}
	if _, err := keyring.Edit(t.Context(), src, func(keys []keyring.Key) ([]keyring.Key, error) {
		return keyring.Prune(keys, time.Now().Add(time.Hour)), nil
	}); err != nil {
		t.Fatal(err)
	}
	alone, err := keyring.Load(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	r := alone.Purpose("test")
	if !r.Verify(newID, []byte("message"), newTag[:]) || r.Verify(id, []byte("message"), tag[:]) {
		t.Error("without the old secret, its signature is accepted, or the new one is not")
	}
}

// Whatever keeps a message from being opened, the answer is one and the same: no data,
// and an error that says nothing. Nothing is tried in another way instead.
func TestASVS_11_2_5_EveryFailureToOpenIsOneError(t *testing.T) {
	k, gone := keyring.Generate(), keyring.Generate()
	now := time.Now()
	ring := mustNew(t, k, gone.AsRetiring(now.Add(-time.Second)))
	p := ring.Purpose("test", "context")
	good := p.Seal([]byte("message"), []byte("ad"))
	goodFor := p.SealFor(testSecret, []byte("message"), []byte("ad"))
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
	under := func(k keyring.Key, label string, ad string) []byte {
		return mustNew(t, k).Purpose(label, "context").Seal([]byte("message"), []byte(ad))
	}
	for name, sealed := range map[string][]byte{
		"nothing":             nil,
		"plain text":          []byte(`{"user":"admin","roles":["admin"]}, and long enough to be sealed`),
		"cut":                 good[:len(good)-1],
		"version":             flip(good, 0),
		"unknown key":         flip(good, 1),
		"nonce":               flip(good, 5),
		"text":                flip(good, 17),
		"tag":                 flip(good, len(good)-1),
		"another purpose":     under(k, "other", "ad"),
		"another key":         under(keyring.Generate(), "test", "ad"),
		"a key that is over":  under(gone, "test", "ad"),
		"other ad":            under(k, "test", "da"),
		"sealed for a secret": goodFor,
	} {
		msg, err := p.Open(sealed, []byte("ad"))
		if err != keyring.ErrOpen || msg != nil {
			t.Errorf("%s: %q, %v", name, msg, err)
		}
		if name == "sealed for a secret" {
			sealed = good // and the other way round
		}
		msg, err = p.OpenFor(testSecret, sealed, []byte("ad"))
		if err != keyring.ErrOpen || msg != nil {
			t.Errorf("for a secret, %s: %q, %v", name, msg, err)
		}
	}
	if keyring.ErrOpen.Error() != "keyring: sealed message cannot be opened" {
		t.Errorf("the error says %q", keyring.ErrOpen)
	}
}

// Where there should be a key and is none, there is an error that says what to do, and
// no key is made in its place.
func TestASVS_13_3_1_AMissingKeyIsNotMadeUp(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "keys")
	t.Setenv("KEYRING_TEST_EMPTY", " \n")
	t.Setenv("KEYRING_TEST_COMMENT", "# later")
	for src, want := range map[keyring.Source]string{
		keyring.File(missing):                 "keyring: key file: open " + missing + ": no such file or directory; cloakroom key new prints what to put into it",
		keyring.MountedFile(missing):          "keyring: mounted key file: open " + missing + ": no such file or directory; cloakroom key new prints what to put into it",
		keyring.Env("KEYRING_TEST_UNSET"):     "KEYRING_TEST_UNSET is not set; put in what cloakroom key new prints",
		keyring.Env("KEYRING_TEST_EMPTY"):     "KEYRING_TEST_EMPTY is empty; put in what cloakroom key new prints",
		keyring.Env("KEYRING_TEST_COMMENT"):   "env:KEYRING_TEST_COMMENT: there is no key; put in the line that cloakroom key new prints",
		&memory{text: []byte("\n\n# none\n")}: "there is no key; put in the line that cloakroom key new prints",
	} {
		ring, err := keyring.Load(t.Context(), src)
		if ring != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, %v", src, ring, err)
		}
		if f, ok := src.(fmt.Stringer); ok && strings.HasPrefix(f.String(), "file:") && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: error does not tell that there is no file: %v", f, err)
		}
	}
	if names(t, dir) != "" {
		t.Errorf("it made %s", names(t, dir))
	}
}

// No source shows a byte of what it read: the errors name the place and the line.
func TestASVS_16_2_5_SourcesShowNoByteOfTheirText(t *testing.T) {
	key := keyring.Generate()
	line := key.Text()
	secret := line[len(line)-43:]
	for name, text := range map[string]string{
		"bare, one character less": secret[:42],
		"bare, two more":           secret + "AA",
		"bare, twice":              secret + "\n" + secret,
		"bare, among key lines":    line + "\n" + secret,
		"bare, in quotes":          `"` + secret + `"`,
		"bare, as a setting":       "KEY=" + secret,
		"key line without a word":  strings.TrimPrefix(line, "cloakroom-key-v1 "),
		"key line cut":             line[:len(line)-1],
		"key line, twice active":   line + "\n" + line,
		"hexadecimal, cut":         encodings[1]([]byte(secret))[:63],
		"JSON":                     `{"key": "` + secret + `"}`,
	} {
		path := writeKeys(t, text)
		t.Setenv("KEYRING_TEST_TEXT", text)
		m := &memory{text: []byte(text)}
		_, editErr := keyring.Edit(t.Context(), m, func(keys []keyring.Key) ([]keyring.Key, error) { return keys, nil })
		_, fileErr := keyring.Load(t.Context(), keyring.File(path))
		_, envErr := keyring.Load(t.Context(), keyring.Env("KEYRING_TEST_TEXT"))
		_, openErr := keyring.OpenFile(path)
		for _, err := range []error{fileErr, envErr, openErr} {
			if err == nil || !strings.Contains(err.Error(), "line ") {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, err := range slices.DeleteFunc([]error{editErr, fileErr, envErr, openErr}, func(err error) bool { return err == nil }) {
			for i := 0; i+4 <= len(secret); i++ {
				if strings.Contains(err.Error(), secret[i:i+4]) {
					t.Errorf("%s: the error shows a part of the text: %v", name, err)
					break
				}
			}
		}
	}
}
