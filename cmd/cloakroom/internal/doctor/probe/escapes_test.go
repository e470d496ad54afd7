package probe_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
)

// inJSON is a text as some write it in JSON, every character escaped.
func inJSON(s string) string {
	var b strings.Builder
	for _, c := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, `\u%04X`, c)
	}
	return b.String()
}

// waysBack are those in which a password may come back.
var waysBack = map[string]func(string) string{
	"as it is":       func(s string) string { return s },
	"quoted":         strconv.Quote,
	"quoted twice":   func(s string) string { return strconv.Quote(strconv.Quote(s)) },
	"in ASCII":       strconv.QuoteToASCII,
	"in JSON":        func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"in JSON, all":   inJSON,
	"percent":        lowercase,
	"percent twice":  func(s string) string { return url.PathEscape(lowercase(s)) },
	"query, thrice":  func(s string) string { return url.QueryEscape(url.QueryEscape(url.QueryEscape(s))) },
	"HTML":           html.EscapeString,
	"HTML twice":     func(s string) string { return html.EscapeString(html.EscapeString(s)) },
	"without blanks": strings.TrimSpace,
	"large":          strings.ToUpper,
	"small":          strings.ToLower,
	"base64":         func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64, URL":    func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"basic":          func(s string) string { return base64.StdEncoding.EncodeToString([]byte("ada:" + s)) },
	"base64, within": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("12345" + s + "678")) },
}

// A password is known again however it is written, and whatever is in it. Not one of the
// error's own words is lost with it.
func TestPasswordEscaped(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{
		`Zebraq"quokka7`, `zebraq\quokka'7`, `zebraq&<quokka>/7`, "zebraq quokka  7", "  zebraq quokka7 ",
		"İzebraqüß€quokka😀7", "zebraq%41+quokka=7", "zebraq\tquokka,;7",
	} {
		for name, way := range waysBack {
			o := probe.Options{URL: public, User: "ada", Password: secret}.In(probe.World{Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: errors.New("before:" + way(secret) + ":behind")}
			}})
			o.URL = "http://localhost"
			said := text(probe.Run(t.Context(), o).Findings)
			_, rest, _ := strings.Cut(said, "before:")
			rest, _, _ = strings.Cut(rest, ":behind")
			if rest = strings.Trim(rest, ` "\`); rest != "…" && !(strings.HasPrefix(name, "base64, w") || name == "basic") {
				t.Errorf("%q %s: left of it is %q", secret, name, rest)
			}
			for _, part := range []string{"zebraq", "quokka", strings.Trim(way(secret), "=")} {
				if strings.Contains(strings.ToLower(said), strings.ToLower(part)) {
					t.Errorf("%q %s: %s", secret, name, said)
				}
			}
		}
	}
}
