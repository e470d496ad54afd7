package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The errors of Field and SetField show no byte of the secret.
var (
	errNoObject = errors.New("the secret is not a JSON object; store it as one, or leave the #FIELD out of the place")
	errNoText   = errors.New("the secret is binary, and key lines are text; store what cloakroom key new prints, as text")
)

// Field returns the field of a JSON object, which has to be a string; without a name,
// the whole text.
func Field(text []byte, name string) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errNoText
	}
	if name == "" {
		return text, nil
	}
	start, end, err := find(text, name)
	if err != nil {
		return nil, err
	}
	var s string
	if text[start] != '"' || json.Unmarshal(text[start:end], &s) != nil {
		return nil, fmt.Errorf("field %q of the secret is not a string; store the key lines as a JSON string", name)
	}
	return []byte(s), nil
}

// SetField returns the JSON object with a string in a field that is there already.
// Everything else in it stays as it is, byte for byte. Without a name, the value is
// all that is returned.
func SetField(text []byte, name string, value []byte) ([]byte, error) {
	if !utf8.Valid(value) {
		return nil, errNoText
	}
	if name == "" {
		return value, nil
	}
	start, end, err := find(text, name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Write(text[:start])
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(value)); err != nil {
		return nil, errNoText // no string fails
	}
	b.Truncate(b.Len() - 1) // the encoder's new line
	b.Write(text[end:])
	return b.Bytes(), nil
}

// find returns where the value of a field stands in a JSON object. A name that is
// there twice is refused: which of them counts is nobody's to guess.
func find(text []byte, name string) (start, end int, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return 0, 0, errNoObject
	}
	start = -1
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return 0, 0, errNoObject
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return 0, 0, errNoObject
		}
		if key != name {
			continue
		}
		if start >= 0 {
			return 0, 0, fmt.Errorf("field %q is in the secret twice; leave one", name)
		}
		end = int(d.InputOffset())
		start = end - len(raw)
		if start < 0 || !bytes.Equal(text[start:end], raw) {
			return 0, 0, errNoObject
		}
	}
	if _, err := d.Token(); err != nil {
		return 0, 0, errNoObject
	}
	if rest := text[d.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		return 0, 0, errNoObject
	}
	if start < 0 {
		return 0, 0, fmt.Errorf("the secret has no field %q; add it, or name another behind the #", name)
	}
	return start, end, nil
}
