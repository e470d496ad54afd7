package cloakroom

import (
	"bytes"
	"slices"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// A lineage is the set of keys that a sealed session has been under since its life
// began, which it does with its deadline: at its first value, and at each login. Each of
// them could have made the session up, and could have written the others into it: so a
// session goes on only while all of them are accepted. Else who forges one with a key
// that has leaked would only have to have it sealed anew, by a request, under the next.
// In a rotation nobody is signed out by that, as a key is accepted for a lifetime after
// it has signed last.
//
// It is in ascending order, each key once, and is never changed in place. It has no more
// keys than a ring can have, since others are not accepted.
type lineage []keyring.KeyID

const (
	// lineageKeys is how many keys of before a session can have been under and be sealed
	// anew however full it is: so many rotations in one lifetime.
	lineageKeys = 16
	lineageRoom = lineageKeys * len(keyring.KeyID{})
)

func compareKeys(a, b keyring.KeyID) int { return bytes.Compare(a[:], b[:]) }

func (l lineage) has(id keyring.KeyID) bool { return slices.Contains(l, id) }

// with returns the lineage with a key more.
func (l lineage) with(id keyring.KeyID) lineage {
	i, ok := slices.BinarySearchFunc(l, id, compareKeys)
	if ok {
		return l
	}
	return slices.Insert(slices.Clip(l), i, id)
}

// accepted reports whether all keys are still accepted.
func (l lineage) accepted(keys *keyring.Ring) bool {
	for _, id := range l {
		if !keys.Accepts(id) {
			return false
		}
	}
	return true
}

// size is how many bytes appendTo makes, without the number, or what is kept free for it.
func (l lineage) size(by keyring.KeyID) int {
	n := len(l)
	if l.has(by) {
		n--
	}
	return max(n*len(by), lineageRoom)
}

// appendTo appends the number of the keys and the keys, without the one that seals: that
// one stands in front of the message.
func (l lineage) appendTo(dst []byte, by keyring.KeyID) []byte {
	at := len(dst)
	dst = append(dst, 0)
	for _, id := range l {
		if id != by {
			dst[at]++
			dst = append(dst, id[:]...)
		}
	}
	return dst
}

// takeLineage takes what appendTo wrote off the front of src, and appends it to dst, which
// is empty, with the key that has sealed it.
func takeLineage(dst lineage, src []byte, by keyring.KeyID) (l lineage, rest []byte, err error) {
	const size = len(by)
	if len(src) == 0 || len(src)-1 < int(src[0])*size {
		return nil, nil, errMalformed
	}
	n, rest := int(src[0]), src[1:]
	for range n {
		id := keyring.KeyID(rest)
		if rest = rest[size:]; id == by || len(dst) > 0 && compareKeys(dst[len(dst)-1], id) >= 0 {
			return nil, nil, errMalformed
		}
		dst = append(dst, id)
	}
	i, _ := slices.BinarySearchFunc(dst, by, compareKeys)
	return slices.Insert(dst, i, by), rest, nil
}

// holds reports whether the keys are still accepted that the session of a request
// depends on. One that is taken away meanwhile takes with it what it signed.
func (m *Manager) holds(a *state) bool {
	if m.sealed == nil {
		return m.accepts(a.key)
	}
	return a.stored.lineage.accepted(m.keys)
}
