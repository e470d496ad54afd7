// Package canary finds secrets in what a program lets out, however they are written
// there. It is for tests: they give the program secrets that they know, make it do what
// it does, and search its logs, answers, errors and files.
//
// A part of a secret is a find as well: five bytes in a row, which nothing else shows
// by chance. So it does not matter what an escape or a line end has done to the rest.
package canary

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// window is how many bytes of a secret in a row are a find: 40 bits.
	window = 5

	// rawWindow is the same where bytes stand as they are, of which there are many that
	// look random, as in databases.
	rawWindow = 6

	// letters is how many characters of a secret's own text are a find, be it in base64
	// or in hexadecimal: 42 and 40 bits.
	letters64, letters16 = 7, 10
)

// A Search knows secrets. Its zero value knows none.
type Search struct {
	needles map[uint32][]needle // by their first four bytes
	likely  [1 << 16]bool       // what those bytes hash to, which is asked first
	secrets []string
}

// A needle is a part of a secret in one of its forms.
type needle struct {
	text         string
	secret, form string
}

// A Find is a secret that was found.
type Find struct {
	Secret string // its name
	Form   string // how it is written
	At     int    // where it begins, in bytes
}

// String returns where which secret was found.
func (f Find) String() string { return fmt.Sprintf("%s as %s at byte %d", f.Secret, f.Form, f.At) }

// Add makes a secret known under a name that is none. A secret of fewer bytes than a
// find takes is a mistake of the test and panics.
func (s *Search) Add(name string, secret []byte) {
	if len(secret) < 2*rawWindow {
		panic("canary: " + name + " is too short to be searched for")
	}
	if s.needles == nil {
		s.needles = make(map[uint32][]needle)
	}
	s.secrets = append(s.secrets, name)
	s.forms(name, "", secret)
	// What it is written as in files and settings is written in other ways itself.
	for form, text := range map[string]string{
		"base64url of itself": base64.RawURLEncoding.EncodeToString(secret),
		"base64 of itself":    base64.StdEncoding.EncodeToString(secret),
		"hexadecimal":         hex.EncodeToString(secret),
	} {
		s.forms(name, " of its "+form, []byte(text))
	}
}

// Secrets returns the names of the secrets that are known.
func (s *Search) Secrets() []string { return slices.Clone(s.secrets) }

// forms adds each window of b in each form in which bytes are written.
func (s *Search) forms(name, of string, b []byte) {
	add := func(form, text string) { s.add(needle{text, name, form + of}) }
	if of == "" {
		for i := 0; i+rawWindow <= len(b); i++ {
			add("bytes", string(b[i:i+rawWindow]))
		}
		add16(hex.EncodeToString(b), func(part string) { add("hexadecimal", part); add("hexadecimal", strings.ToUpper(part)) })
	}
	for i := 0; i+window <= len(b); i++ {
		w := b[i : i+window]
		for form, text := range written(w) {
			if of == "" || form != "a quoted string" && form != "a query" && form != "a path" { // text is itself there
				add(form, text)
			}
		}
	}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for skip := range 3 {
			// The first and the last character hold bits of what stands beside it.
			text := enc.EncodeToString(append(make([]byte, skip), b...))
			text = text[(skip*8+5)/6 : (skip+len(b))*8/6]
			for i := 0; i+letters64 <= len(text); i++ {
				add("base64", text[i:i+letters64])
			}
		}
	}
}

// add16 calls f for each part of a hexadecimal text that begins a byte.
func add16(text string, f func(string)) {
	for i := 0; i+letters16 <= len(text); i += 2 {
		f(text[i : i+letters16])
	}
}

// written are the forms in which some bytes are written.
func written(w []byte) map[string]string {
	each := func(format, between string) string {
		parts := make([]string, len(w))
		for i, b := range w {
			parts[i] = fmt.Sprintf(format, b)
		}
		return strings.Join(parts, between)
	}
	quoted := strconv.Quote(string(w))
	backwards := slices.Clone(w)
	slices.Reverse(backwards)
	forms := map[string]string{
		"decimals":                   each("%d", " "),
		"decimals, JSON":             each("%d", ","),
		"decimals with commas":       each("%d", ", "),
		"Go syntax":                  each("0x%x", ", "),
		"C syntax":                   each("0x%02x", ", "),
		"hexadecimal with spaces":    each("%02x", " "),
		"HEXADECIMAL with spaces":    each("%02X", " "),
		"hexadecimal with colons":    each("%02x", ":"),
		"HEXADECIMAL with colons":    each("%02X", ":"),
		"escapes":                    each(`\x%02x`, ""),
		"octal escapes":              each(`\%03o`, ""),
		"JSON escapes":               each(`\u%04x`, ""),
		"percent":                    each("%%%02x", ""),
		"PERCENT":                    each("%%%02X", ""),
		"a query":                    url.QueryEscape(string(w)),
		"a path":                     url.PathEscape(string(w)),
		"a quoted string":            quoted[1 : len(quoted)-1],
		"UTF-16, low byte first":     each("%c\x00", ""),
		"UTF-16, high byte first":    each("\x00%c", ""),
		"a word, low byte first":     hex.EncodeToString(backwards), // as registers and arguments of a stack
		"binary":                     each("%08b", " "),
		"hexadecimal of a text":      hex.EncodeToString(w),
		"HEXADECIMAL of a text":      strings.ToUpper(hex.EncodeToString(w)),
		"decimals, one below other":  each("%d", "\n"),
		"character references, dec.": each("&#%d;", ""),
	}
	for name, text := range forms {
		if strings.HasPrefix(name, "UTF-16") {
			forms[name] = latin(text)
		}
	}
	return forms
}

// latin turns the UTF-8 of code points below 256 into a byte each.
func latin(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

func (s *Search) add(n needle) {
	head := binary.LittleEndian.Uint32([]byte(n.text[:4]))
	if slices.ContainsFunc(s.needles[head], func(o needle) bool { return o.text == n.text }) {
		return
	}
	s.needles[head] = append(s.needles[head], n)
	s.likely[hash(head)] = true
}

func hash(head uint32) uint16 { return uint16(head * 2654435761 >> 16) }

// Find returns where secrets are found, the first place for each secret and form.
func (s *Search) Find(text []byte) (finds []Find) {
	for i := 0; i+4 <= len(text); i++ {
		head := binary.LittleEndian.Uint32(text[i:])
		if !s.likely[hash(head)] {
			continue
		}
		for _, n := range s.needles[head] {
			if len(text)-i < len(n.text) || string(text[i:i+len(n.text)]) != n.text {
				continue
			}
			same := func(f Find) bool { return f.Secret == n.secret && f.Form == n.form }
			if !slices.ContainsFunc(finds, same) {
				finds = append(finds, Find{n.secret, n.form, i})
			}
		}
	}
	return finds
}
