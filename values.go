package cloakroom

import (
	"encoding/binary"
	"errors"
	"strings"
)

// values are the values of a session in the form in which they are sealed: for
// each a name and its JSON, both with their length before them. So one is found
// by stepping over the others, and reading a small value of a large session
// costs that value. They are never changed in place: what set and without return
// is new.
type values []byte

var errMalformed = errors.New("malformed session data")

// reserved reports a name that belongs to packages of this module.
func reserved(name string) bool { return strings.HasPrefix(name, "cloakroom.") }

// get returns the JSON of a value.
func (v values) get(name string) ([]byte, bool) {
	for rest := v; len(rest) > 0; {
		var n, val []byte
		n, val, rest = next(rest)
		if string(n) == name {
			return val, true
		}
	}
	return nil, false
}

// set returns the values with one of them set.
func (v values) set(name string, val []byte) values {
	before, after := v.around(name)
	out := make(values, 0, len(before)+len(after)+len(name)+len(val)+2*binary.MaxVarintLen32)
	out = append(out, before...)
	out = appendBytes(out, name)
	out = appendBytes(out, val)
	return append(out, after...)
}

// without returns the values without one of them.
func (v values) without(name string) values {
	before, after := v.around(name)
	if len(before)+len(after) == len(v) {
		return v
	}
	return append(append(make(values, 0, len(before)+len(after)), before...), after...)
}

// around returns what stands before and behind a value; all and nothing where
// there is none.
func (v values) around(name string) (before, after values) {
	for rest := v; len(rest) > 0; {
		at := len(v) - len(rest)
		var n []byte
		n, _, rest = next(rest)
		if string(n) == name {
			return v[:at], rest
		}
	}
	return v, nil
}

// check steps over all values, so that the other methods need not look for ends.
func (v values) check() error {
	for len(v) > 0 {
		for range 2 {
			n, size := binary.Uvarint(v)
			if size <= 0 || n > uint64(len(v)-size) {
				return errMalformed
			}
			v = v[size+int(n):]
		}
	}
	return nil
}

// next takes the first value off checked values.
func next(v values) (name, val []byte, rest values) {
	n, size := binary.Uvarint(v)
	name, v = v[size:size+int(n)], v[size+int(n):]
	n, size = binary.Uvarint(v)
	return name, v[size : size+int(n) : size+int(n)], v[size+int(n):]
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// takeBytes takes what appendBytes wrote off the front of src.
func takeBytes(src []byte) (b, rest []byte, err error) {
	n, size := binary.Uvarint(src)
	if size <= 0 || n > uint64(len(src)-size) {
		return nil, nil, errMalformed
	}
	return src[size : size+int(n)], src[size+int(n):], nil
}
