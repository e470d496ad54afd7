package agekeys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

// pemBegin is how a private SSH key begins.
const pemBegin = "-----BEGIN"

// parseIdentities reads an identity file. Of a line that is none, its number is told.
func parseIdentities(text []byte) ([]age.Identity, error) {
	if begin := bytes.TrimSpace(text); bytes.HasPrefix(begin, []byte(pemBegin)) && !bytes.HasPrefix(begin, []byte(armor.Header)) {
		return parseSSH(begin)
	}
	var ids []age.Identity
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		id, err := age.ParseIdentities(strings.NewReader(line))
		if err != nil {
			what := "no identity; it has to begin with AGE-SECRET-KEY-, as age-keygen prints it"
			switch {
			case strings.HasPrefix(line, intro[:len(intro)-1]) || strings.HasPrefix(line, armor.Header):
				what = "the identities are encrypted themselves; decrypt them first"
			case strings.HasPrefix(line, "AGE-PLUGIN-"):
				what = "an identity of a plugin, which cannot be asked here; make one with age-keygen"
			case strings.HasPrefix(line, pemBegin):
				what = "an SSH key goes into a file of its own, without other identities"
			case strings.HasPrefix(line, "AGE-SECRET-KEY-"):
				what = "an identity that was cut or changed; copy it again"
			}
			return nil, fmt.Errorf("agekeys: identity file: line %d: %s", n, what)
		}
		ids = append(ids, id...)
	}
	if len(ids) == 0 {
		return nil, fault("identity file: there is no identity in it; put in what age-keygen prints")
	}
	return ids, nil
}

// The faults of SSH keys.
const (
	errSSH       fault = "identity file: there is an SSH key that was cut or changed; copy all of it again, from its BEGIN line to its END line"
	errSSHKind   fault = "identity file: an SSH key of a kind that age does not take; it takes ed25519, and RSA"
	errSSHShort  fault = "identity file: an RSA key of less than 2048 bits; make another one"
	errSSHLocked fault = "identity file: the SSH key has a passphrase, for which nobody can be asked here; take it off a copy with ssh-keygen -p, or make an identity with age-keygen"
)

// minRSA is the least size of an RSA key in bits that age encrypts to.
const minRSA = 2048

// parseSSH reads private SSH keys, as ssh-keygen writes them.
func parseSSH(text []byte) ([]age.Identity, error) {
	var ids []age.Identity
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errSSH
		}
		text = bytes.TrimSpace(rest)
		key, err := ssh.ParseRawPrivateKey(pem.EncodeToMemory(block))
		if err != nil {
			var locked *ssh.PassphraseMissingError
			if errors.As(err, &locked) {
				return nil, errSSHLocked
			}
			return nil, errSSH
		}
		id, err := sshIdentity(key)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// sshIdentity makes an identity of a private key.
func sshIdentity(key any) (id age.Identity, err error) {
	switch key := key.(type) {
	case *ed25519.PrivateKey: // of OpenSSH's own format
		id, err = agessh.NewEd25519Identity(*key)
	case ed25519.PrivateKey: // of PKCS #8
		id, err = agessh.NewEd25519Identity(key)
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSA {
			return nil, errSSHShort
		}
		id, err = agessh.NewRSAIdentity(key)
	default:
		return nil, errSSHKind
	}
	if err != nil {
		return nil, errSSH
	}
	return id, nil
}

// recipients returns to whom new keys are encrypted, where the present ones are to so
// many others.
func (s *Source) recipients(ids []age.Identity, others int) ([]age.Recipient, error) {
	if path := s.opts.RecipientsFile; path != "" {
		return readRecipients(path)
	}
	if others > 0 {
		return nil, errOthers
	}
	var to []age.Recipient
	for _, id := range ids {
		switch id := id.(type) {
		case *age.X25519Identity:
			to = append(to, id.Recipient())
		case *age.HybridIdentity:
			to = append(to, id.Recipient())
		case *agessh.Ed25519Identity:
			to = append(to, id.Recipient())
		case *agessh.RSAIdentity:
			to = append(to, id.Recipient())
		default:
			return nil, fault("an identity does not say its recipient; name all in a recipients file")
		}
	}
	return to, nil
}

// readRecipients reads a recipients file. Who can change it learns the next keys, so
// nobody else may; what it says is no secret.
func readRecipients(path string) ([]age.Recipient, error) {
	text, err := readNamed("recipients", path, secretfile.Sealed, maxIdentities)
	if err != nil {
		return nil, err
	}
	var to []age.Recipient
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		r, err := parseRecipient(line)
		if err != nil {
			return nil, fmt.Errorf("agekeys: recipients file: line %d: no recipient; it has to begin with age1, as age-keygen -y prints it, or be a public SSH key, ssh-ed25519 or ssh-rsa of 2048 bits", n)
		}
		to = append(to, r)
	}
	if len(to) == 0 {
		return nil, fault("recipients file: there is no recipient in it; put in what age-keygen -y prints")
	}
	return to, nil
}

func parseRecipient(line string) (age.Recipient, error) {
	if strings.HasPrefix(line, "ssh-") {
		return agessh.ParseRecipient(line)
	}
	r, err := age.ParseRecipients(strings.NewReader(line))
	if err != nil {
		return nil, err
	}
	return r[0], nil
}
