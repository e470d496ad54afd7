package probe

import (
	"cmp"
	"net/url"
	"strings"
	"time"
)

// learn hides the cookies and the token of an answer, and notes how pieces of it may be
// shown. Every answer comes by here before anybody looks at it.
func (s *secrets) learn(a *answer) {
	lines := a.Header.Values("Set-Cookie")
	if len(lines) > maxCookies {
		lines = a.kept(lines)
	}
	for _, line := range lines {
		value, _, _ := strings.Cut(line, ";")
		if _, after, ok := strings.Cut(value, "="); ok {
			value = after
		}
		s.hide(strings.Trim(value, " \t"))
	}
	s.hide(a.token())
	for _, line := range lines {
		s.learnCookie(line)
	}
	s.learnLocation(a)
}

// kept are the lines with cookies that the browser took, and as many more of those that
// findings are about. A flood is not searched for again and again.
func (a *answer) kept(lines []string) (list []string) {
	ours := 0
	for i, line := range lines {
		switch name := strings.TrimPrefix(a.cookies[i].name, "__Host-"); {
		case a.refused[i] == nil:
			list = append(list, line)
		case name == visitorCookie || name == sessionCookie:
			if ours++; ours <= maxCookies {
				list = append(list, line)
			}
		}
	}
	return list
}

// learnCookie takes a line apart twice, as it is and without secrets.
func (s *secrets) learnCookie(line string) {
	clean := s.blank(line)
	if clean == line {
		return
	}
	is, _ := readSetCookie(line, time.Time{})
	may, _ := readSetCookie(clean, time.Time{})
	s.instead(is.name, may.name)
	s.instead(is.domain, may.domain)
	s.instead(is.path, may.path)
}

// learnLocation does so with where an answer leads.
func (s *secrets) learnLocation(a *answer) {
	location := a.Header.Get("Location")
	clean := blank
	if len(location) <= maxOutside {
		clean = s.blank(location)
	}
	is, err := a.url.Parse(location)
	if clean == location || err != nil {
		return
	}
	may, err := a.url.Parse(clean)
	var shown [5]string
	if err == nil {
		shown = pieces(may)
	}
	for i, piece := range pieces(is) {
		s.instead(piece, strings.ReplaceAll(shown[i], url.PathEscape(blank), blank))
	}
}

// pieces are what findings show of an address.
func pieces(u *url.URL) [5]string {
	return [5]string{page(u), origin(u), u.Hostname(), hostPort(u), strings.Replace(hostPort(u), ":", " ", 1)}
}

// instead notes that a piece of a text is shown as it is without the secrets of the whole
// text: a piece of a secret would not be known again.
func (s *secrets) instead(piece, clean string) {
	if piece != clean && piece != "" {
		s.pieces[piece] = cmp.Or(clean, blank)
	}
}
