package probe

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// words are a text of a finding. A constant is words as it stands, and what the settings
// say becomes words by own. What comes from outside, as answers, addresses and errors,
// does so by quote, shown and name, which mark it: the secrets in it are blanked in the
// end, when all of them are known. The constants around it never are, as a password may
// be any word, and what is missing from a sentence would tell it.
type words string

// Outside text is kept in quotes between these, which nothing in quotes contains.
const (
	showQuoted = "\x01"
	showBare   = "\x02"
	showPage   = "\x03"
	showEnd    = "\x04"
)

var outside = regexp.MustCompile(`[\x01-\x03]"[^\x04]*"\x04`)

// How much is shown of outside text.
const (
	maxQuoted = 120
	maxBare   = 200

	maxOutside = 16 << 10 // a longer one is not looked through for secrets, and not shown
)

// quote marks outside text that is shown in quotes, on one line, in ASCII and not too
// long.
func quote(s string) words { return words(showQuoted + strconv.QuoteToASCII(s) + showEnd) }

// shown is quote without the quotes, for what is known to be an address or the like.
func shown(s string) words { return words(showBare + strconv.QuoteToASCII(s) + showEnd) }

// name is an address without its query and fragment, which may be secrets as well.
func name(u *url.URL) words {
	return words(showPage + strconv.QuoteToASCII(page(u)) + showEnd)
}

// page is an address as name takes it.
func page(u *url.URL) string {
	n := *u
	n.User, n.RawPath = nil, ""
	return n.String()
}

// own makes words of what is ours, or the settings'.
func own(s string) words { return words(s) }

func minute(t time.Time) words { return words(t.UTC().Format("2006-01-02 15:04")) }
func number(n int) words       { return words(strconv.Itoa(n)) }
func kib(n int) words          { return words(fmt.Sprintf("%.1f KiB", float64(n)/1024)) }
func day(t time.Time) words    { return words(t.UTC().Format("2006-01-02")) }

// refusedFor is why a browser does not take a cookie.
type refusedFor words

func refuse(why words) error { return refusedFor(why) }

func (r refusedFor) Error() string { return (&run{secrets: newSecrets("")}).text(words(r)) }

// because is why, in words.
func because(err error) words {
	if r, ok := errors.AsType[refusedFor](err); ok {
		return words(r)
	}
	return shown(err.Error())
}

// joined are words with something between them.
func joined(list []words, between words) words {
	var all words
	for i, w := range list {
		if i > 0 {
			all += between
		}
		all += w
	}
	return all
}

// text is how words read, without a secret in what comes from outside.
func (r *run) text(w words) string {
	return outside.ReplaceAllStringFunc(string(w), func(marked string) string {
		s, err := strconv.Unquote(marked[1 : len(marked)-1])
		if err != nil {
			return blank // nobody but quote and shown writes the marks
		}
		if len(s) > maxOutside {
			s = blank
		}
		s = r.secrets.blank(s)
		switch marked[:1] {
		case showQuoted:
			return ascii(cut(s, maxQuoted))
		case showPage: // a secret may have a question mark in it
			s, _, _ = strings.Cut(s, "?")
			s, _, _ = strings.Cut(s, "#")
		}
		s = ascii(s)
		return cut(s[1:len(s)-1], maxBare)
	})
}

// blank stands where a secret was.
const blank = "…"

// ascii quotes a text in which secrets have been blanked.
func ascii(s string) string {
	return strings.ReplaceAll(strconv.QuoteToASCII(s), `\u2026`, blank)
}

func cut(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
