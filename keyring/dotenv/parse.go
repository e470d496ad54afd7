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
	return value, nil
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
	if rest, ok := bytes.CutPrefix(p.text[p.at:], []byte("export")); ok && len(rest) > 0 && blank(rune(rest[0])) {
		p.at += len("export")
		p.skip(blank)
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
	for _, st := range all {
		if st.name != s.name {
			continue
		}
		// Whether that is the place is seen by what a mark there does.
		const mark = "placed by cloakroom"
		if _, ok := s.changed(file, st, "'"+mark+"'", mark); !ok {
			break
		}
		was := file[st.start:st.end]
		for _, quoted := range quote(value, was, bytes.Contains(file, []byte("\r\n"))) {
			if next, ok := s.changed(file, st, quoted, value); ok {
				return next, nil
			}
		}
		return nil, s.faultf("%s cannot hold these keys beside their comments; put them in by hand, with cloakroom key rotate --print", s.name)
	}
	return nil, s.faultf("where %s ends is not clear; put the keys in by hand, with cloakroom key rotate --print", s.name)
}

// changed returns the file with quoted in the place of a value, and whether that is the
// name's value then and all others are what they were.
func (s *Source) changed(file []byte, st statement, quoted, value string) ([]byte, bool) {
	next := bytes.Join([][]byte{file[:st.start], []byte(quoted), file[st.end:]}, nil)
	before, ok := parse(file)
	after, ok2 := parse(next)
	if !ok || !ok2 || after[s.name] != value || len(next) > maxFile {
		return nil, false
	}
	delete(before, s.name)
	delete(after, s.name)
	return next, maps.Equal(before, after)
}

// quote returns ways to write a value, the one most like the last first: on one line
// where that was on one, over several in its quotation marks where it was on several.
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
	case !bytes.Contains(was, []byte("\n")):
		return []string{escaped, single}
	case was[0] == '\'':
		return []string{single, double, escaped}
	}
	return []string{double, escaped, single}
}
