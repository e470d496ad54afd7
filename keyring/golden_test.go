package keyring_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// goldenKeys reads the key file of version 1 as it was written on the first day.
func goldenKeys(t testing.TB) []keyring.Key {
	t.Helper()
	f, err := os.Open("testdata/v1.keys")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	keys, err := keyring.ReadKeys(f)
	if err != nil || len(keys) != 3 {
		t.Fatalf("golden key file: %d keys, %v", len(keys), err)
	}
	return keys
}

// A goldenMessage was signed and sealed by version 1.
type goldenMessage struct {
	Key       string   `json:"key"`
	Label     string   `json:"label"`
	Context   []string `json:"context"`
	Message   string   `json:"msg"`
	AD        string   `json:"ad"`
	Secret    string   `json:"secret"`
	Tag       goldHex  `json:"tag"`
	Sealed    goldHex  `json:"sealed"`
	SealedFor goldHex  `json:"sealed_for"`
}

type goldHex []byte

func (b *goldHex) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

func goldenMessages(t testing.TB) (messages []goldenMessage) {
	t.Helper()
	data, err := os.ReadFile("testdata/v1.json")
	if err == nil {
		err = json.Unmarshal(data, &messages)
	}
	if err != nil || len(messages) != 3 {
		t.Fatalf("golden messages: %d, %v", len(messages), err)
	}
	return messages
}

// Key files outlive programs: version 1 is read for ever, and written as it was.
func TestGoldenKeyFileOfVersion1(t *testing.T) {
	keys := goldenKeys(t)
	for i, want := range []string{
		"cloakroom-key-v1 02b7c461 2026-01-02T03:04:05Z active JaTqg-EbArufkrokWa1SEBbOGb9OnlMBeS2bvpShSE8",
		"cloakroom-key-v1 1c303486 2026-06-07T08:09:10Z next Ud7bORKjiQ14Yt3M-3b7ctalIeqfKGRuYCr4aQFSFK8",
		"cloakroom-key-v1 9ea3dd72 2025-11-12T13:14:15Z retiring until 9999-12-31T23:59:59Z U_bqWgzGkXlMa1pQbQyoYCXrhsZ3XNbtQbgrl6CuRE0",
	} {
		if got := keys[i].Text(); got != want {
			t.Errorf("key %d is %s, want %s", i, got, want)
		}
	}
	if !keys[0].Created().Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) || keys[0].State() != keyring.Active ||
		keys[1].State() != keyring.Next || keys[2].State() != keyring.Retiring || keys[2].Until().Year() != 9999 {
		t.Error("states and times of the golden keys are others")
	}
}

// What version 1 signed and sealed is accepted for ever, in each state of a key.
func TestGoldenMessagesOfVersion1(t *testing.T) {
	keys := goldenKeys(t)
	ring := keyring.NewUnjudged(keys[0], keys[1], keys[2])
	for _, m := range goldenMessages(t) {
		p := ring.Purpose(m.Label, m.Context...)
		id, err := keyring.ParseKeyID(m.Key)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Verify(id, []byte(m.Message), m.Tag) {
			t.Errorf("signature under %v is refused", id)
		}
		if got, err := p.Open(m.Sealed, []byte(m.AD)); err != nil || string(got) != m.Message {
			t.Errorf("sealed under %v: %q, %v", id, got, err)
		}
		if got, err := p.OpenFor([]byte(m.Secret), m.SealedFor, []byte(m.AD)); err != nil || string(got) != m.Message {
			t.Errorf("sealed for a secret under %v: %q, %v", id, got, err)
		}
	}
}

// A goldenBare is a bare secret and the key that it has always made.
type goldenBare struct {
	By   string `json:"by"`
	Text string `json:"text"`
	ID   string `json:"id"`
}

func goldenBares(t testing.TB) (bares []goldenBare) {
	t.Helper()
	data, err := os.ReadFile("testdata/bare.json")
	if err == nil {
		err = json.Unmarshal(data, &bares)
	}
	if err != nil || len(bares) != 6 {
		t.Fatalf("golden bare secrets: %d, %v", len(bares), err)
	}
	return bares
}

// A bare secret makes the same key for ever, in every spelling.
func TestGoldenBareSecrets(t *testing.T) {
	for _, b := range goldenBares(t) {
		if id, err := keyring.BareID(b.Text); err != nil || id.String() != b.ID {
			t.Errorf("as of %s: key %v, %v, want %s", b.By, id, err, b.ID)
		}
	}
}

// The golden keys stand in a public repository. Nobody shall run with them.
func TestAttack_A47_GoldenKeysAreRefused(t *testing.T) {
	for _, k := range goldenKeys(t) {
		if _, err := keyring.New(k.AsActive()); err == nil {
			t.Errorf("%v is accepted", k)
		}
	}
	for _, b := range goldenBares(t) {
		if _, err := keyring.Read(strings.NewReader(b.Text)); err == nil {
			t.Errorf("what stands for %s is accepted", b.By)
		}
	}
}
