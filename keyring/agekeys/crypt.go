package agekeys

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/cloakroom-dev/cloakroom/internal/guessable"
)

// intro is the first line of what age writes.
const intro = "age-encryption.org/v1\n"

// A fault is an error of this package's own. Those of age quote what they cannot read,
// which may be keys that nobody has encrypted, so none of them is shown.
type fault string

func (f fault) Error() string { return "agekeys: " + string(f) }

const (
	errPlain     fault = "the keys are not encrypted; encrypt them with age, or read them without it"
	errNoAge     fault = "what is there is not encrypted with age, or its beginning is missing; write the keys anew"
	errEmpty     fault = "what is there is empty; put in keys that are encrypted with age"
	errVersion   fault = "the keys are encrypted in another version of the format; encrypt them with age 1"
	errArmor     fault = "the armor around the encrypted keys is damaged; copy all of it, from its BEGIN line to its END line"
	errDamaged   fault = "the encrypted keys were cut off or changed; copy them again, or restore them from a backup"
	errHuge      fault = "more than 256 KiB of encrypted text cannot be keys"
	errHugeText  fault = "more than 64 KiB cannot be keys"
	errOthers    fault = "the keys are encrypted to others than the identities as well, who could not open new ones; name all in a recipients file"
	errMixed     fault = "recipients of the hybrid and of the older kind cannot be mixed; name those of one kind in a recipients file"
	errNotOurs   fault = "no identity opens what is encrypted to the recipients file; add the recipient of one to it"
	errNoPass    fault = "the keys are encrypted to identities, not with a passphrase; give an identity file"
	errPass      fault = "the passphrase is wrong; correct the passphrase file"
	errNoIdent   fault = "the keys are encrypted with a passphrase, not to identities; give a passphrase file"
	errIdent     fault = "none of the identities opens the keys; add the one that they are encrypted to"
	errReadOnly  fault = "the source around which this one is can only be read; write the keys where it has them from"
	errEmptyPass fault = "passphrase file: it is empty; put the passphrase into it"
)

// decrypt opens what was sealed.
func (s *Source) decrypt(ctx context.Context, sealed, secret []byte) (opened, error) {
	raw, armored, err := dearmor(sealed)
	if err != nil {
		return opened{}, err
	}
	ids, err := s.identities(secret)
	if err != nil {
		return opened{}, err
	}
	o := &opener{ctx: ctx, ids: ids, passphrase: s.opts.PassphraseFile != "", limit: s.opts.MaxWorkFactor}
	text, err := open(raw, o)
	return opened{text: text, armored: armored, cost: o.cost, others: o.others}, err
}

// open decrypts what is binary.
func open(raw []byte, id age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(raw), id)
	var told fault
	switch {
	case errors.As(err, &told), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, err
	case err != nil:
		return nil, errDamaged
	}
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	switch {
	case err != nil:
		return nil, errDamaged
	case len(text) > maxText:
		return nil, errHugeText
	}
	return text, nil
}

// An opener is all identities in one. It looks at what it is asked to do before it does
// it, and at whom else the keys are encrypted to.
type opener struct {
	ctx        context.Context
	ids        []age.Identity
	passphrase bool // that there is one, and no other identity
	limit      int  // of its work factor

	cost   int // the work factor that was found
	others int // recipients who are none of ours
}

// Unwrap implements [age.Identity].
func (o *opener) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) == 1 && stanzas[0].Type == "scrypt" {
		return o.unwrapPassphrase(stanzas[0])
	}
	if o.passphrase {
		return nil, errNoPass
	}
	var key []byte
	o.others = 0
	for _, st := range stanzas {
		k := o.unwrapOne(st)
		switch {
		case k == nil && !strings.HasSuffix(st.Type, "-grease"): // there to be ignored
			o.others++
		case key == nil:
			key = k
		}
	}
	if key == nil {
		return nil, errIdent
	}
	return key, nil
}

// unwrapOne returns nil where no identity opens a stanza.
func (o *opener) unwrapOne(st *age.Stanza) []byte {
	for _, id := range o.ids {
		if key, err := id.Unwrap([]*age.Stanza{st}); err == nil {
			return key
		}
	}
	return nil
}

func (o *opener) unwrapPassphrase(st *age.Stanza) ([]byte, error) {
	if !o.passphrase {
		return nil, errNoIdent
	}
	if len(st.Args) != 2 {
		return nil, errDamaged
	}
	cost, err := strconv.Atoi(st.Args[1])
	switch {
	case cost > o.limit: // as what is too large for a number is, too
		return nil, fault(fmt.Sprintf("the passphrase would cost too much: its work factor is over %d; encrypt the keys anew with age -p, or to an identity", o.limit))
	case err != nil || cost < 1:
		return nil, errDamaged
	}
	if err := takeTurn(o.ctx); err != nil {
		return nil, err
	}
	defer giveTurn()
	o.cost = cost
	key, err := o.ids[0].Unwrap([]*age.Stanza{st})
	switch {
	case errors.Is(err, age.ErrIncorrectIdentity):
		return nil, errPass
	case err != nil:
		return nil, errDamaged
	}
	return key, nil
}

// dearmor returns what is to be decrypted, and whether it was armored.
func dearmor(sealed []byte) (raw []byte, armored bool, err error) {
	if len(sealed) > maxCiphertext {
		return nil, false, errHuge
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(sealed, []byte("\xef\xbb\xbf")))
	switch {
	case len(text) == 0:
		return nil, false, errEmpty
	case bytes.Contains(text, []byte(guessable.Marker)):
		return nil, false, errPlain
	case bytes.HasPrefix(text, []byte("-----")):
		raw, err = io.ReadAll(armor.NewReader(bytes.NewReader(text)))
		if err != nil {
			return nil, false, errArmor
		}
		sealed, armored = raw, true
	}
	switch version, rest := []byte(intro), []byte(sealed); {
	case bytes.HasPrefix(rest, version):
		return sealed, armored, nil
	case len(rest) < len(version) && bytes.HasPrefix(version, rest):
		return nil, false, errDamaged
	case bytes.HasPrefix(rest, []byte("age-encryption.org/")):
		return nil, false, errVersion
	}
	return nil, false, errNoAge
}

// turns lets one passphrase be tried at a time, in all of the process: each takes
// hundreds of megabytes.
var turns = make(chan struct{}, 1)

func takeTurn(ctx context.Context) error {
	select {
	case turns <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("agekeys: wait for another passphrase: %w", ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		<-turns
		return fmt.Errorf("agekeys: %w", err)
	}
	return nil
}

// giveTurn gives the memory back as well, which would stay with the process otherwise.
func giveTurn() {
	debug.FreeOSMemory()
	<-turns
}

// identities reads what opens the keys.
func (s *Source) identities(secret []byte) ([]age.Identity, error) {
	if s.opts.PassphraseFile == "" {
		return parseIdentities(secret)
	}
	id, err := age.NewScryptIdentity(passphrase(secret))
	if err != nil {
		return nil, errEmptyPass
	}
	id.SetMaxWorkFactor(s.opts.MaxWorkFactor)
	return []age.Identity{id}, nil
}

func passphrase(secret []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(secret), "\n"), "\r")
}

// encrypt seals text to whom the present keys are sealed, in the same form.
func (s *Source) encrypt(ctx context.Context, now opened, text []byte) ([]byte, error) {
	if len(text) > maxText {
		return nil, errHugeText
	}
	secret, err := s.secret()
	if err != nil {
		return nil, err
	}
	ids, err := s.identities(secret)
	if err != nil {
		return nil, err
	}
	var to []age.Recipient
	o := &opener{ctx: ctx, ids: ids, passphrase: s.opts.PassphraseFile != "", limit: s.opts.MaxWorkFactor}
	if o.passphrase {
		to, err = passphraseRecipient(passphrase(secret), now.cost)
	} else {
		to, err = s.recipients(ids, now.others)
	}
	if err != nil {
		return nil, err
	}
	next, err := seal(ctx, text, to)
	if err != nil {
		return nil, err
	}
	// Who cannot open the new keys must not write them.
	if again, err := open(next, o); err != nil || subtle.ConstantTimeCompare(again, text) == 0 {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("agekeys: %w", ctx.Err())
		}
		return nil, errNotOurs
	}
	if now.armored {
		var b bytes.Buffer // which takes everything
		w := armor.NewWriter(&b)
		w.Write(next)
		w.Close()
		next = b.Bytes()
	}
	return next, nil
}

// seal encrypts text. A passphrase takes its turn.
func seal(ctx context.Context, text []byte, to []age.Recipient) ([]byte, error) {
	if _, ok := to[0].(*age.ScryptRecipient); ok {
		if err := takeTurn(ctx); err != nil {
			return nil, err
		}
		defer giveTurn()
	}
	var b bytes.Buffer // which takes everything
	w, err := age.Encrypt(&b, to...)
	if err != nil {
		return nil, errMixed // of recipients of age's own there is no other
	}
	if _, err = w.Write(text); err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fault("the keys could not be encrypted")
	}
	return b.Bytes(), nil
}

// passphraseRecipient returns who has the passphrase, at the cost that there was.
func passphraseRecipient(passphrase string, cost int) ([]age.Recipient, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, errEmptyPass
	}
	r.SetWorkFactor(cost)
	return []age.Recipient{r}, nil
}
