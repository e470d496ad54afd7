package probe

import (
	"encoding/base64"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cloakroom-dev/cloakroom/password"
)

// leastSecret is how long a secret is at least: a shorter one is a part of many words.
const leastSecret = 4

// secrets is what no finding may repeat.
type secrets struct {
	password *regexp.Regexp    // however it is escaped; nil for none
	base64   []string          // pieces of the password's base64, see base64s
	others   []string          // cookies and tokens, as lower leaves them
	known    map[string]bool   // those
	pieces   map[string]string // how pieces of texts with secrets are shown
}

// newSecrets are those that are known before anything was answered.
func newSecrets(secret string) *secrets {
	s := &secrets{known: map[string]bool{}, pieces: map[string]string{}}
	if core := strings.TrimSpace(secret); len(core) >= leastSecret {
		s.password, s.base64 = escaped(secret), append(base64s(core), base64s(secret)...)
	}
	return s
}

// hide adds what is set by those who answer, and is mostly repeated as it is.
func (s *secrets) hide(list ...string) {
	for _, secret := range list {
		ways := []string{secret, strings.Trim(secret, `"`), url.QueryEscape(secret), url.PathEscape(secret)}
		if plain, err := url.PathUnescape(secret); err == nil {
			ways = append(ways, plain)
		}
		for _, way := range ways {
			if way = lower(way); len(way) >= leastSecret && !s.known[way] {
				s.known[way] = true
				s.others = append(s.others, way)
			}
		}
	}
}

// blank takes the secrets out of outside text.
func (s *secrets) blank(text string) string {
	if clean, ok := s.pieces[text]; ok {
		text = clean
	}
	spans := s.ofPassword(text)
	small := lower(text)
	for _, secret := range s.others {
		spans = append(spans, places(small, secret)...)
	}
	return without(text, spans)
}

// blankPassword takes out the password alone: cookies and tokens are short words at
// times, as "true", of which a page is full.
func (s *secrets) blankPassword(text string) string { return without(text, s.ofPassword(text)) }

// ofPassword are the places where the password stands.
func (s *secrets) ofPassword(text string) (spans [][]int) {
	if s.password == nil {
		return nil
	}
	spans = s.password.FindAllStringIndex(text, -1)
	small := lower(text)
	for _, core := range s.base64 {
		for _, at := range places(small, core) { // and what stands for its first and last bits
			for at[0] > 0 && at[0] > at[1]-len(core)-1 && digit64(text[at[0]-1]) {
				at[0]--
			}
			if at[1] < len(text) && digit64(text[at[1]]) {
				at[1]++
			}
			for at[1] < len(text) && text[at[1]] == '=' {
				at[1]++
			}
			spans = append(spans, at)
		}
	}
	return spans
}

// places are all places of a piece in a text.
func places(text, piece string) (spans [][]int) {
	for from := 0; ; {
		at := strings.Index(text[from:], piece)
		if at < 0 {
			return spans
		}
		spans = append(spans, []int{from + at, from + at + len(piece)})
		from += at + 1
	}
}

// without puts a blank in the place of what is in spans, one for those that touch.
func without(text string, spans [][]int) string {
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b []int) int { return a[0] - b[0] })
	var b strings.Builder
	end := 0
	for i, at := range spans {
		if i == 0 || at[0] > end {
			b.WriteString(text[end:at[0]])
			b.WriteString(blank)
		}
		end = max(end, at[1])
	}
	return b.String() + text[end:]
}

// lower is strings.ToLower for ASCII alone: nothing changes its place.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// base64s are the pieces that the base64 of any text with s in it has, as lower leaves
// them: where s stands decides how its bits fall into digits, in one of three ways.
func base64s(s string) (list []string) {
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			all := enc.EncodeToString([]byte(strings.Repeat("\x00", before) + s))
			core := all[(before*8+5)/6 : (before+len(s))*8/6]
			for _, way := range []string{core, url.QueryEscape(core)} {
				if way = lower(way); len(core) > leastSecret && !slices.Contains(list, way) {
					list = append(list, way)
				}
			}
		}
	}
	return list
}

func digit64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+/-_=", c) >= 0
}

// backslash is one, as it may come.
const backslash = `(?:\\|%(?:25)*5c)`

// escaped matches a text as addresses, forms, pages, JSON and quoted errors write it,
// more than once as well, and in capitals, as the name of a host may have lost them.
// Blanks may be more than they were, or fewer, and those at the ends may be lost.
func escaped(s string) *regexp.Regexp {
	if len(s) > password.MaxLength { // nobody has it
		s = s[:password.MaxLength]
	}
	core := strings.TrimSpace(s)
	space := backslash + "*(?:" + strings.Join(ways(' ', " "), "|") + ")"
	var b strings.Builder
	b.WriteString("(?i)")
	if core != s {
		b.WriteString(`(?:\s|` + space + ")*")
	}
	blanks := false
	for rest := core; len(rest) > 0; {
		c, n := utf8.DecodeRuneInString(rest)
		switch {
		case c != ' ':
			b.WriteString(backslash + "*(?:" + strings.Join(ways(c, rest[:n]), "|") + ")")
		case !blanks:
			b.WriteString("(?:" + space + ")+")
		}
		blanks, rest = c == ' ', rest[n:]
	}
	if core != s {
		b.WriteString(`(?:\s|` + space + ")*")
	}
	return regexp.MustCompile(b.String())
}

// ways are those in which one character may come, which is piece. Backslashes may stand
// before each.
func ways(c rune, piece string) []string {
	const amp, percent = `&(?:amp;)*`, `%(?:25)*`
	var list []string
	for _, c := range slices.Compact([]rune{c, unicode.ToLower(c), unicode.ToUpper(c)}) {
		list = append(list, regexp.QuoteMeta(string(c)))
	}
	if q := strconv.QuoteToASCII(piece); q[1] == '\\' {
		list = append(list, backslash+regexp.QuoteMeta(q[2:len(q)-1]))
	}
	var bytes, units string
	for i := range len(piece) {
		bytes += percent + fmt.Sprintf("%02x", piece[i])
	}
	for i, u := range utf16.Encode([]rune{c}) {
		if i > 0 {
			units += backslash + "+"
		}
		units += fmt.Sprintf("u%04x", u)
	}
	list = append(list, bytes, backslash+units, fmt.Sprintf(`%s#(?:0*%d|x0*%x);?`, amp, c, c))
	if c < 0x100 {
		list = append(list, backslash+fmt.Sprintf("x%02x", c))
	}
	if e := html.EscapeString(string(c)); e != string(c) {
		list = append(list, amp+regexp.QuoteMeta(e[1:]))
	}
	switch c {
	case ' ':
		list = append(list, `\+`, percent+"2b")
	case '"':
		list = append(list, amp+"quot;")
	case '\'':
		list = append(list, amp+"apos;")
	}
	return list
}
