package dotenv

import (
	"bytes"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/joho/godotenv"
)

// bom is what some editors put in front of UTF-8.
const bom = "\ufeff"

// dollar stands for a dollar sign while a file is parsed, so that nothing is put in
// the place of what follows it. No name and no key has such a byte.
const dollar = "\x01"

// parse returns all values of a file. The errors of godotenv quote what they cannot
// read, secrets included: only whether there is one counts.
func parse(file []byte) (map[string]string, bool) {
	text := strings.TrimPrefix(string(file), bom)
	values, err := godotenv.Unmarshal(strings.ReplaceAll(text, "$", dollar))
	return values, err == nil
}

// value returns what the name has in a file.
func (s *Source) value(file []byte) (string, error) {
	if bytes.HasPrefix(file, []byte("\xff\xfe")) || bytes.HasPrefix(file, []byte("\xfe\xff")) {
		// What > makes in older PowerShells.
		return "", s.faultf("its text is UTF-16; save it as UTF-8 or ASCII")
	}
	values, ok := parse(file)
	all, line := scan(file)
	if !ok && line > 0 {
		return "", s.faultf("line %d cannot be read; write NAME=value, and close every quotation mark", line)
	} else if !ok {
		return "", s.faultf("it cannot be read; write NAME=value, and close every quotation mark")
	}
	value, ok := values[s.name]
	if !ok {
		return "", s.faultf("there is no %s in it; add the line %[1]s=\"…\" with what cloakroom key new prints", s.shown())
	}
	var lines []int
	for _, st := range all {
		if st.name == s.name {
			lines = append(lines, st.line)
		}
	}
	switch {
	case len(lines) > 1:
		return "", s.faultf("%s is set on line %d and again on line %d; remove one of them", s.name, lines[0], lines[1])
	case strings.TrimSpace(value) == "":
		return "", s.faultf("%s is empty; put in what cloakroom key new prints", s.name)
	case strings.Contains(value, dollar):
		return "", s.faultf("there is a $ in %s, which keys have none of; put in what cloakroom key new prints", s.name)
	}
	st, ok := s.find(file, all)
	switch {
	case !ok && line > 0:
		return "", s.faultf("line %d cannot be read; write NAME=value, and close every quotation mark", line)
	case !ok:
		return "", s.faultf("where %s is set is not clear; write %[1]s=\"…\" on a line of its own, with blanks of the usual kind", s.name)
	case hasEscape(file[st.start:st.end]):
		return "", s.faultf("there is a \\ in %s, which keys have none of; put in what cloakroom key new prints", s.name)
	}
	return value, nil
}

// mark is put in the place of a value to see whether that is the place.
const mark = "placed by cloakroom"

// find returns the one statement that sets the name. There is none where godotenv finds
// the value elsewhere than the scanner, which others may do as well: then they read other
// keys than we.
func (s *Source) find(file []byte, all []statement) (statement, bool) {
	for _, st := range all {
		if st.name == s.name {
			_, ok := s.changed(file, st, "'"+mark+"'", mark)
			return st, ok
		}
	}
	return statement{}, false
}

// hasEscape tells whether in double quotation marks there is a backslash that not all
// readers of such files understand alike.
func hasEscape(quoted []byte) bool {
	if len(quoted) == 0 || quoted[0] != '"' {
		return false
	}
	for i := 1; i+1 < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		if i++; !bytes.ContainsRune([]byte(`nr"\`), rune(quoted[i])) {
			return true
		}
	}
	return false
}

// A statement is a name and where in the file its value stands, quotation marks
// included.
type statement struct {
	name       string
	start, end int
	line       int // on which it begins
}

// scan finds the statements of a file, as godotenv does. For what it cannot read it
// returns the number of the line, else 0.
func scan(file []byte) (all []statement, line int) {
	p := scanner{text: file}
	if bytes.HasPrefix(file, []byte(bom)) {
		p.at = len(bom)
	}
	for {
		p.skip(unicode.IsSpace)
		if p.at == len(p.text) {
			return all, 0
		}
		if p.text[p.at] == '#' {
			p.skip(func(r rune) bool { return r != '\n' })
			continue
		}
		st, ok := p.statement()
		if !ok {
			return all, p.line(st.start)
		}
		all = append(all, st)
	}
}

type scanner struct {
	text []byte
	at   int
}

func (p *scanner) line(at int) int { return bytes.Count(p.text[:at], []byte("\n")) + 1 }

// skip goes on to the next character that is none of these.
func (p *scanner) skip(these func(rune) bool) {
	for p.at < len(p.text) {
		r, n := utf8.DecodeRune(p.text[p.at:])
		if !these(r) {
			return
		}
		p.at += n
	}
}

// blank tells of spaces within a line, as godotenv knows them.
func blank(r rune) bool { return strings.ContainsRune("\t\v\f\r \u0085\u00a0", r) }

// statement reads one name and its value. If it cannot, start is where it gave up.
func (p *scanner) statement() (st statement, ok bool) {
	st.line = p.line(p.at)
	if rest, ok := bytes.CutPrefix(p.text[p.at:], []byte("export")); ok {
		if r, _ := utf8.DecodeRune(rest); blank(r) {
			p.at += len("export")
			p.skip(blank)
		}
	}
	begin := p.at
	for ; ; p.at++ {
		if p.at == len(p.text) {
			return statement{start: begin}, false
		}
		b := p.text[p.at]
		if b == '=' || b == ':' {
			break
		}
		if r := rune(b); !blank(r) && b != '_' && b != '.' && !unicode.IsLetter(r) && !unicode.IsNumber(r) {
			return statement{start: p.at}, false
		}
	}
	st.name = strings.TrimRightFunc(string(p.text[begin:p.at]), unicode.IsSpace)
	p.at++
	p.skip(blank)
	st.start = p.at
	if p.at < len(p.text) && (p.text[p.at] == '"' || p.text[p.at] == '\'') {
		quote := p.text[p.at]
		for p.at++; p.at < len(p.text); p.at++ {
			if p.text[p.at] == quote && p.text[p.at-1] != '\\' {
				p.at++
				st.end = p.at
				return st, true
			}
		}
		return st, false
	}
	p.skip(func(r rune) bool { return r != '\n' && r != '\r' })
	value := string(p.text[st.start:p.at])
	// A comment begins with the last # behind a space.
	for i := len(value) - 1; i > 0; i-- {
		if r, _ := utf8.DecodeLastRuneInString(value[:i]); value[i] == '#' && blank(r) {
			value = value[:i]
			break
		}
	}
	st.end = st.start + len(strings.TrimRightFunc(value, blank))
	return st, true
}

// replace puts a value in the place of the one that the name has.
func (s *Source) replace(file []byte, value string) ([]byte, error) {
	all, _ := scan(file)
	st, ok := s.find(file, all)
	if !ok {
		return nil, s.faultf("where %s ends is not clear; put the keys in by hand, with cloakroom key rotate --print", s.name)
	}
	was := file[st.start:st.end]
	for _, quoted := range quote(value, was, bytes.Contains(file, []byte("\r\n"))) {
		if next, ok := s.changed(file, st, quoted, value); ok && len(next) <= maxFile {
			return next, nil
		}
	}
	return nil, s.faultf("%s cannot hold these keys beside their comments; put them in by hand, with cloakroom key rotate --print", s.name)
}

// changed returns the file with quoted in the place of a value, and whether that is the
// name's value then and all others are what they were.
func (s *Source) changed(file []byte, st statement, quoted, value string) ([]byte, bool) {
	next := bytes.Join([][]byte{file[:st.start], []byte(quoted), file[st.end:]}, nil)
	before, ok := parse(file)
	after, ok2 := parse(next)
	if !ok || !ok2 || after[s.name] != value {
		return nil, false
	}
	delete(before, s.name)
	delete(after, s.name)
	return next, maps.Equal(before, after)
}

// quote returns ways to write a value, the best first: over several lines, which a shell
// reads as well, but with \n between them where the last was written so. One line stands
// in double quotation marks.
func quote(value string, was []byte, crlf bool) []string {
	if strings.ContainsAny(value, "\\$`\r"+dollar) {
		return nil
	}
	lines := value
	if crlf {
		lines = strings.ReplaceAll(value, "\n", "\r\n")
	}
	escaped, double, single := `"`+strings.ReplaceAll(value, "\n", `\n`)+`"`, `"`+lines+`"`, `'`+lines+`'`
	switch {
	case !strings.Contains(value, "\n"), bytes.Contains(was, []byte(`\n`)):
		return []string{escaped, single, double}
	case bytes.HasPrefix(was, []byte(`"`)) && bytes.Contains(was, []byte("\n")):
		return []string{double, single, escaped}
	}
	return []string{single, double, escaped}
}
