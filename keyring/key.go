package keyring

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// secretSize is the size of a key in bytes: 256 bits from crypto/rand, twice
// what ASVS 11.2.3 asks for, and the key size of HMAC-SHA-256 and AES-256.
const secretSize = guessable.Size

// marker opens every key line. It names the version of the format, so that a
// later format can be told from this one, and it gives scanners for leaked
// secrets something to look for.
const marker = guessable.Marker + "1"

// timeLayout is the one spelling of a time in a key line: UTC, whole seconds.
const timeLayout = "2006-01-02T15:04:05Z"

// A KeyID names a key. It is computed from the secret, so it cannot disagree
// with it, and it is no secret itself: it stands in cookies, records and logs.
// The zero KeyID names no key.
type KeyID [4]byte

// String returns the ID as 8 hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText returns what [KeyID.String] returns, for JSON and logs.
func (id KeyID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// ParseKeyID reads what [KeyID.String] wrote: 8 lower-case hexadecimal digits.
// Its error does not echo s, which may be a secret that went astray.
func ParseKeyID(s string) (KeyID, error) {
	var id KeyID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || s != strings.ToLower(s) {
		return KeyID{}, errors.New("keyring: a key id is 8 hexadecimal digits in lower case")
	}
	copy(id[:], b)
	return id, nil
}

// A State says what a key is used for. The zero State belongs to the zero Key.
type State uint8

const (
	// Next is a key that is coming: every instance accepts what it signed, and
	// none signs with it. Once all instances know it, it can become active.
	Next State = iota + 1

	// Active is the one key of a ring that signs and seals.
	Active

	// Retiring is a former active key. What it signed is accepted until
	// [Key.Until].
	Retiring
)

// String returns the word a key line has for the state.
func (s State) String() string {
	switch s {
	case Next:
		return "next"
	case Active:
		return "active"
	case Retiring:
		return "retiring"
	}
	return "none"
}

// MarshalText returns what [State.String] returns.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Key is 32 secret bytes with an ID, the time it was made and a state. It
// comes from [Generate], [ParseKey] or [ReadKeys]; the zero Key is no key, and no
// ring takes it. A Key is a value and never changes.
//
// Whatever prints, logs or marshals a Key shows "key:" and its ID. Only
// [Key.Text] gives the secret away.
type Key struct {
	*material
	created time.Time
	until   time.Time
	state   State
}

// material is a secret and the ID computed from it. The secret lies behind two
// pointers, as fmt walks the unexported fields of other people's structs without
// asking for methods. Of a pointer there it shows the address; but with a verb
// that does not suit, such as %s, it shows what the first pointer leads to.
type material struct {
	secret *[secretSize]byte
	id     KeyID
}

// newMaterial keeps the secret it is given. It takes a pointer, as does whatever else is
// handed a secret: the stack that a crash prints shows the bytes of an array among the
// arguments of a function, and of a pointer the address.
func newMaterial(secret *[secretSize]byte) *material {
	h := sha256.New()
	h.Write([]byte("cloakroom key id\x00"))
	h.Write(secret[:])
	return &material{secret, KeyID(h.Sum(nil)[:len(KeyID{})])}
}

// Generate makes a new key from crypto/rand: active, created now. There is no
// error to handle: without random bytes crypto/rand ends the process, and with
// bytes that are not random Generate panics.
func Generate() Key {
	// A random secret is accepted the first time, but for one in a billion.
	for range 3 {
		var secret [secretSize]byte
		rand.Read(secret[:])
		k := Key{material: newMaterial(&secret), created: wholeSecond(time.Now()), state: Active}
		if judge(k) == nil {
			return k
		}
	}
	panic("keyring: what crypto/rand returns is not random")
}

// wholeSecond is t as a key line can hold it.
func wholeSecond(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// ID returns the name of the key: the first four bytes of SHA-256 over a label
// and the secret. The zero Key has the zero ID.
func (k Key) ID() KeyID {
	if k.material == nil {
		return KeyID{}
	}
	return k.id
}

// Created returns when the key was made, in UTC and whole seconds. It is the zero time
// if nobody knows, as of a bare secret; a key line says 0001-01-01T00:00:00Z then.
func (k Key) Created() time.Time { return k.created }

// State returns what the key is used for.
func (k Key) State() State { return k.state }

// Until returns when a retiring key stops being accepted, in UTC and whole
// seconds; the zero time for every other key.
func (k Key) Until() time.Time { return k.until }

// Info returns what may be shown of the key.
func (k Key) Info() KeyInfo {
	return KeyInfo{ID: k.ID(), Created: k.created, State: k.state, Until: k.until}
}

// AsNext returns the key in the state [Next].
func (k Key) AsNext() Key { return k.as(Next, time.Time{}) }

// AsActive returns the key in the state [Active].
func (k Key) AsActive() Key { return k.as(Active, time.Time{}) }

// AsRetiring returns the key in the state [Retiring], to be accepted until the
// given time, which is cut to whole seconds. Let it be at least one lifetime of
// a session away, and nobody is signed out.
func (k Key) AsRetiring(until time.Time) Key { return k.as(Retiring, wholeSecond(until)) }

func (k Key) as(s State, until time.Time) Key {
	k.state, k.until = s, until
	return k
}

// Text returns the key as one line without a line end, the secret included. It
// is what a key file holds and [ParseKey] reads. The zero Key has no text: "".
func (k Key) Text() string {
	if k.material == nil {
		return ""
	}
	state := k.state.String()
	if k.state == Retiring {
		state += " until " + k.until.Format(timeLayout)
	}
	return strings.Join([]string{
		marker,
		k.ID().String(),
		k.created.Format(timeLayout),
		state,
		base64.RawURLEncoding.EncodeToString(k.secret[:]),
	}, " ")
}

// ParseKey reads one key line:
//
//	cloakroom-key-v1 ID CREATED STATE SECRET
//
// with the ID in 8 hexadecimal digits, the time as 2006-01-02T15:04:05Z, one of
// the states next, active and "retiring until 2006-01-02T15:04:05Z", and 32
// bytes in base64url without padding. Spaces or tabs stand between the fields;
// nothing else has two spellings.
//
// ParseKey only reads. Whether the secret is good enough is for [New] and
// [Read] to judge. Errors name the fault and never echo the line.
func ParseKey(line string) (Key, error) {
	k, err := parseKey(line)
	if err != nil {
		return Key{}, fmt.Errorf("keyring: parse key: %w", err)
	}
	return k, nil
}

func parseKey(line string) (Key, error) {
	f := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	switch {
	case len(f) > 0 && f[0] == marker:
	case len(f) > 0 && strings.HasPrefix(f[0], guessable.Marker):
		return Key{}, errors.New("key is of another version of the format; a newer cloakroom may read it")
	default:
		return Key{}, errors.New("not a key line: it has to begin with " + marker + ", as printed by cloakroom key new")
	}
	// The words before the secret say how many fields there are.
	var k Key
	switch {
	case len(f) == 5 && f[3] == "next":
		k.state = Next
	case len(f) == 5 && f[3] == "active":
		k.state = Active
	case len(f) == 7 && f[3] == "retiring" && f[4] == "until":
		k.state = Retiring
		var err error
		if k.until, err = parseTime(f[5]); err != nil {
			return Key{}, fmt.Errorf("end of retiring: %w", err)
		}
	default:
		return Key{}, errors.New("want id, time, state (next, active, or retiring until and a time) and secret")
	}
	var err error
	if k.created, err = parseTime(f[2]); err != nil {
		return Key{}, fmt.Errorf("time of making: %w", err)
	}
	secret, err := parseSecret(f[len(f)-1])
	if err != nil {
		return Key{}, err
	}
	k.material = newMaterial(&secret)
	// The ID stands there for people, and finds a line that was copied badly.
	if k.id.String() != f[1] {
		return Key{}, errors.New("id and secret do not belong together; the line was changed or cut, copy it again")
	}
	return k, nil
}

// parseTime reads a time in its one spelling. time.Parse would take fractions
// of a second as well.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeLayout, s)
	if err != nil || t.Format(timeLayout) != s {
		return time.Time{}, errors.New("want a time in UTC like 2006-01-02T15:04:05Z")
	}
	return t, nil
}

func parseSecret(s string) ([secretSize]byte, error) {
	enc := base64.RawURLEncoding.Strict()
	b, err := enc.DecodeString(s)
	// The decoder skips line ends: only the full length has one spelling.
	if err != nil || len(b) != secretSize || len(s) != enc.EncodedLen(secretSize) {
		return [secretSize]byte{}, errors.New("secret has to be 32 bytes in base64url: 43 characters without padding")
	}
	return [secretSize]byte(b), nil
}

// String returns "key:" and the ID, never the secret.
func (k Key) String() string {
	if k.material == nil {
		return "key:none"
	}
	return "key:" + k.ID().String()
}

// GoString returns what [Key.String] returns.
func (k Key) GoString() string { return k.String() }

// Format prints what [Key.String] returns, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue returns what [Key.String] returns.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns what [Key.String] returns: a Key inside a configuration
// that is printed as text or XML shows no secret. It cannot be read back.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// MarshalJSON returns what [Key.String] returns, as a JSON string.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }
