package audit_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
)

// Whatever spelling a lax server would take for a header of ours is noticed, one line a
// request; where a request came from only a known proxy may say.
func TestHeadersThatClaimWhatTheyMayNot(t *testing.T) {
	for _, c := range []struct {
		headers []string
		peer    string
		level   string // "" for no line
		named   string
	}{
		{[]string{"X-Forwarded-User"}, "192.0.2.1:1", "WARN", "X-Forwarded-User"},
		{[]string{"x_forwarded_user"}, "192.0.2.1:1", "WARN", "x_forwarded_user"},
		{[]string{"X.Remote.User"}, "192.0.2.1:1", "WARN", "X.Remote.User"},
		{[]string{"Remote_User"}, "192.0.2.1:1", "WARN", "Remote_User"},
		{[]string{"X-Auth-Request-User"}, "192.0.2.1:1", "WARN", "X-Auth-Request-User"},
		{[]string{"X-CLOAKROOM_ROLES", "Forwarded"}, "192.0.2.1:1", "WARN", "X-CLOAKROOM_ROLES"},
		{[]string{"X-Cloakroom-User", "X-Cloakroom-Roles"}, "10.0.0.1:1", "WARN", "X-Cloakroom-Roles"},
		{[]string{"X-Forwarded-For"}, "192.0.2.1:1", "DEBUG", "X-Forwarded-For"},
		{[]string{"X_Forwarded_Proto"}, "192.0.2.1:1", "DEBUG", "X_Forwarded_Proto"},
		{[]string{"X-Forwarded-For", "X-Forwarded-Proto"}, "10.0.0.1:1", "", ""},
		{[]string{"X-Forwarded-Users", "Accept", "User"}, "192.0.2.1:1", "", ""},
	} {
		var out bytes.Buffer
		log := audit.NewLogger(&out, "json", "debug")
		h := audit.Middleware(log, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil, http.NotFoundHandler())
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, name := range c.headers {
			r.Header[name] = []string{"203.0.113.9"} // as a server leaves names that are not canonical
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		var lines []map[string]any
		for line := range strings.Lines(out.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			if m["msg"] == "spoofed_header" {
				lines = append(lines, m)
			}
		}
		want := 1
		if c.level == "" {
			want = 0
		}
		if len(lines) != want {
			t.Errorf("%v from %s: %d lines, want %d", c.headers, c.peer, len(lines), want)
			continue
		}
		if want == 1 && (lines[0]["level"] != c.level || lines[0]["header"] != `"`+c.named+`"` && lines[0]["header"] != c.named || lines[0]["addr"] == nil) {
			t.Errorf("%v from %s: %v", c.headers, c.peer, lines[0])
		}
	}
}
