// Package problem answers a refused request: with a problem document (RFC 9457)
// for a program, with a small page for a browser.
//
// An answer says what its detail says and nothing else: no cause, path, query or
// stack ever reaches it (ASVS 16.5.1).
package problem

import (
	"cmp"
	"encoding/json"
	"html"
	"net/http"
	"strconv"
	"strings"
)

// The details of this module's answers. Programs compare them: they never
// change.
const (
	NotAuthenticated   = "Not authenticated"              // 401
	InvalidCredentials = "Invalid credentials"            // 401
	RecentAuth         = "Recent authentication required" // 401
	Forbidden          = "Forbidden"                      // 403
	PasswordChange     = "Password change required"       // 403
	CrossOrigin        = "Cross-origin request"           // 403
	CSRFToken          = "CSRF token missing or wrong"    // 403
	SessionRenewed     = "Session renewed"                // 409
	SessionEnded       = "Session ended"                  // 409
	TooManyAttempts    = "Too many attempts"              // 429
	Unavailable        = "Unavailable"                    // 503
)

// WantsHTML tells whether the request's Accept prefers text/html over JSON. An
// absent Accept, */* and a draw are JSON. What a client calls itself in
// User-Agent says nothing about what it reads.
func WantsHTML(r *http.Request) bool {
	page, doc := match{}, match{}
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(part, ";")
			q := quality(params)
			switch strings.ToLower(strings.Trim(media, " \t")) {
			case "text/html":
				page.take(3, q)
			case "application/json", "application/problem+json":
				doc.take(3, q)
			case "text/*":
				page.take(2, q)
			case "application/*":
				doc.take(2, q)
			case "*/*":
				page.take(1, q)
				doc.take(1, q)
			}
		}
	}
	// A draw is JSON, unless the page alone was named, as in "text/html, */*".
	if page.q != doc.q {
		return page.q > doc.q
	}
	return page.q > 0 && page.precision > doc.precision
}

// match is the quality of the most precise range that covers a media type: a
// precise range overrides a wide one, whichever weighs more (RFC 9110 §12.5.1).
type match struct{ precision, q int }

func (m *match) take(precision, q int) {
	if precision > m.precision || precision == m.precision && q > m.q {
		m.precision, m.q = precision, q
	}
}

// quality reads the weight among the parameters of a media range, in
// thousandths: 1000 where there is none, 0 where it is not one of RFC 9110
// §12.4.2. strconv would take NaN, Inf and 1e3 as well.
func quality(params string) int {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.Trim(p, " \t"), "=")
		if name != "q" && name != "Q" {
			continue
		}
		whole, frac, _ := strings.Cut(value, ".")
		if whole != "0" && whole != "1" || len(frac) > 3 {
			return 0
		}
		n := int(whole[0]-'0') * 1000
		for i, unit := range []int{100, 10, 1}[:len(frac)] {
			if frac[i] < '0' || frac[i] > '9' {
				return 0
			}
			n += int(frac[i]-'0') * unit
		}
		if n > 1000 {
			return 0
		}
		return n
	}
	return 1000
}

// Navigation tells whether a browser is going somewhere, so that it will show a
// page or follow a redirect: a GET or HEAD that wants HTML and, where the
// browser says so (Fetch Metadata), is a navigation of a window or frame.
func Navigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Mode") {
	case "", "navigate":
	default:
		return false
	}
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "", "document", "iframe", "frame":
	default:
		return false
	}
	return WantsHTML(r)
}

// document is a problem document (RFC 9457 §3.1).
type document struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Answer is an answer that says more than its detail. All of its texts are fixed
// ones of this module, but for numbers in them.
type Answer struct {
	Status int
	Detail string // what programs read, and people where there are no Words
	Reason string // a code of why, for programs; "" for none
	Words  string // what people read instead of Detail; "" for that
}

// Write answers with status and detail, a fixed text of this module: see
// [Answer.Write].
func Write(w http.ResponseWriter, r *http.Request, status int, detail string) {
	Answer{Status: status, Detail: detail}.Write(w, r)
}

// Write answers. It removes headers that belong to the page which was not served,
// as [http.Error] does, keeps the others, and must be called before anything was
// written.
func (a Answer) Write(w http.ResponseWriter, r *http.Request) {
	status := a.Status
	title := http.StatusText(status)
	if title == "" {
		title = "Status " + strconv.Itoa(status)
	}
	// What describes the body that is not sent would make clients misread the one
	// that is.
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Disposition", "Etag", "Last-Modified", "Accept-Ranges", "Content-Range"} {
		h.Del(name)
	}
	var body []byte
	if WantsHTML(r) {
		h.Set("Content-Type", "text/html; charset=utf-8")
		// The page loads nothing, and stands in no frame of another site.
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		body = page(title, cmp.Or(a.Words, a.Detail))
	} else {
		h.Set("Content-Type", "application/problem+json")
		// Strings and a number: it cannot fail.
		body, _ = json.Marshal(document{Type: "about:blank", Title: title, Status: status, Detail: a.Detail, Reason: a.Reason})
		body = append(body, '\n')
	}
	h.Add("Vary", "Accept")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that went away has nobody to tell
	}
}

// page is the smallest page that says it in a browser.
func page(title, words string) []byte {
	var b strings.Builder
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>")
	b.WriteString(html.EscapeString(title))
	b.WriteString("</title>\n<h1>")
	b.WriteString(html.EscapeString(title))
	b.WriteString("</h1>\n")
	if words != "" && words != title {
		b.WriteString("<p>")
		b.WriteString(html.EscapeString(words))
		b.WriteString("</p>\n")
	}
	b.WriteString("</html>\n")
	return []byte(b.String())
}
