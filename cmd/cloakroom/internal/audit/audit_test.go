package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// hostile are texts that would begin a line of their own in a log, or make a
// terminal or a viewer show something else than is there.
var hostile = []string{
	"a\r\nlevel=ERROR msg=forged", "\x1b[2J\x1b]0;x\x07", "nul\x00", "\u2028line", "\u202etxt.exe", "\u0085next",
	"zero\u200bwidth", "broken\xff\xfe", `quote" } { "msg":"forged"`, "\u2066isolate\u2069",
}

func clean(t *testing.T, log string) {
	t.Helper()
	for _, b := range []byte(strings.ReplaceAll(log, "\n", "")) {
		if b < ' ' || b > '~' {
			t.Fatalf("byte %#x in the log: %q", b, log)
		}
	}
}

func TestASVS_16_4_1_OutsideTextStaysOneLine(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		for _, text := range hostile {
			var out bytes.Buffer
			log := audit.NewLogger(&out, format, "debug")
			event.Log(t.Context(), log, slog.LevelInfo, event.LoginRefused, event.User(text))
			log.Info("raw", "text", text, "err", errors.New(text), slog.Group("g", "in", text))
			log.With("kept", text).Info("raw")
			clean(t, out.String())
			if n := strings.Count(out.String(), "\n"); n != 3 {
				t.Errorf("%s, %q: %d lines, want 3:\n%s", format, text, n, out.String())
			}
			if format != "json" {
				continue
			}
			for line := range strings.Lines(out.String()) {
				var m map[string]any
				if err := json.Unmarshal([]byte(line), &m); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
		}
	}
}

func TestASVS_16_2_2_TimesAreUTC(t *testing.T) {
	kolkata := time.FixedZone("IST", 5*3600+1800)
	defer func(l *time.Location) { time.Local = l }(time.Local)
	time.Local = kolkata
	var out bytes.Buffer
	audit.NewLogger(&out, "json", "info").Info("x", "at", time.Now())
	var line struct{ Time, At string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{line.Time, line.At} {
		if _, err := time.Parse(time.RFC3339Nano, s); err != nil || !strings.HasSuffix(s, "Z") {
			t.Errorf("%s is not UTC in RFC 3339: %v", s, err)
		}
	}
}

func prefixes(t *testing.T, texts ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestClientAddr(t *testing.T) {
	trusted := prefixes(t, "10.0.0.0/8", "::1/128")
	for _, tc := range []struct {
		name, peer string
		xff        []string
		trusted    []netip.Prefix
		want       string
	}{
		{"nobody trusted", "10.0.0.1:1", []string{"1.2.3.4"}, nil, "10.0.0.1"},
		{"peer not trusted", "9.9.9.9:1", []string{"1.2.3.4"}, trusted, "9.9.9.9"},
		{"one proxy", "10.0.0.1:1", []string{"1.2.3.4"}, trusted, "1.2.3.4"},
		{"invented hops on the left", "10.0.0.1:1", []string{"6.6.6.6, 1.2.3.4, 10.0.0.2"}, trusted, "1.2.3.4"},
		{"several lines", "10.0.0.1:1", []string{"6.6.6.6", "1.2.3.4", "10.0.0.2"}, trusted, "1.2.3.4"},
		{"proxies only", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, trusted, "10.0.0.3"},
		{"rubbish", "10.0.0.1:1", []string{"1.2.3.4, unknown"}, trusted, "10.0.0.1"},
		{"rubbish behind a proxy", "10.0.0.1:1", []string{"1.2.3.4, <script>, 10.0.0.2"}, trusted, "10.0.0.2"},
		{"absent", "10.0.0.1:1", nil, trusted, "10.0.0.1"},
		{"with ports", "[::1]:1", []string{"[2001:db8::1]:443"}, trusted, "2001:db8::1"},
		{"in brackets", "[::1]:1", []string{"[2001:db8::1]"}, trusted, "2001:db8::1"},
		{"mapped", "[::ffff:10.0.0.1]:1", []string{"::ffff:1.2.3.4"}, trusted, "1.2.3.4"},
		{"a zone", "[::1]:1", []string{"fe80::1%eth0"}, trusted, "fe80::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got string
			h := audit.Middleware(slog.New(slog.DiscardHandler), tc.trusted, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = audit.ClientAddr(r)
			}))
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tc.peer
			r.Header["X-Forwarded-For"] = tc.xff
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestRequestIDAndHTTPSComeFromTrustedProxiesOnly(t *testing.T) {
	for _, tc := range []struct {
		peer, id string
		taken    bool
	}{
		{"10.0.0.1:1", "0123456789abcdef-A_B.C", true},
		{"9.9.9.9:1", "0123456789abcdef", false},
		{"10.0.0.1:1", "short", false},
		{"10.0.0.1:1", strings.Repeat("x", 65), false},
		{"10.0.0.1:1", "with spaces and\x00", false},
		{"10.0.0.1:1", "", false},
	} {
		var https bool
		h := audit.Middleware(slog.New(slog.DiscardHandler), prefixes(t, "10.0.0.0/8"), nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			https = audit.HTTPS(r)
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tc.peer
		r.Header.Set("X-Request-Id", tc.id)
		r.Header.Set("X-Forwarded-Proto", "https")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		id := w.Header().Get("X-Request-Id")
		if (id == tc.id) != tc.taken || len(id) < 8 {
			t.Errorf("from %s with %q: %q", tc.peer, tc.id, id)
		}
		if https != strings.HasPrefix(tc.peer, "10.") {
			t.Errorf("from %s: https is %v", tc.peer, https)
		}
	}
}

// request runs one request through the middleware and returns what was logged.
func request(t *testing.T, format string, r *http.Request, h http.HandlerFunc) (*httptest.ResponseRecorder, string) {
	t.Helper()
	var out bytes.Buffer
	w := httptest.NewRecorder()
	fail := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	audit.Middleware(audit.NewLogger(&out, format, "debug"), nil, fail, h).ServeHTTP(w, r)
	return w, out.String()
}

func TestASVS_16_5_4_APanicIsAnAnswerAndALine(t *testing.T) {
	const secret = "hunter2hunter2"
	w, log := request(t, "json", httptest.NewRequest("GET", "/x?token="+secret, nil), func(http.ResponseWriter, *http.Request) {
		panic("the password is " + secret)
	})
	if w.Code != 500 || !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, "audit_test") {
		t.Errorf("%d\n%s", w.Code, log)
	}
	if strings.Contains(log, secret) {
		t.Errorf("secret in the log: %s", log)
	}
	_, log = request(t, "json", httptest.NewRequest("GET", "/", nil), func(http.ResponseWriter, *http.Request) {
		none := []int{}
		_ = none[len(none)]
	})
	if !strings.Contains(log, "index out of range") {
		t.Errorf("a runtime error must be told: %s", log)
	}
}

func TestAbortIsNotALogLine(t *testing.T) {
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
	}()
	request(t, "json", httptest.NewRequest("GET", "/", nil), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

func TestAPanicInTheMiddleOfAnAnswerBreaksIt(t *testing.T) {
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
	}()
	request(t, "json", httptest.NewRequest("GET", "/", nil), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		panic("late")
	})
}

func TestASVS_16_2_1_LinesOfARequestNameIt(t *testing.T) {
	r := httptest.NewRequest("POST", "/auth/login?token=secret", nil)
	r.RemoteAddr = "192.0.2.1:5"
	_, log := request(t, "json", r, func(w http.ResponseWriter, r *http.Request) {
		slog.New(slog.DiscardHandler).Info("nothing")
		w.WriteHeader(401)
	})
	var line map[string]any
	if err := json.Unmarshal([]byte(log), &line); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"time", "level", "msg", "request", "addr", "method", "path", "status"} {
		if line[key] == nil {
			t.Errorf("no %s in %s", key, log)
		}
	}
	if line["addr"] != "192.0.2.1" || line["status"] != 401.0 || strings.Contains(log, "secret") {
		t.Errorf("%s", log)
	}
}

// Every part of a request that a client writes, in one request.
func TestAttack_A42_LogInjection(t *testing.T) {
	for _, text := range hostile {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = "/" + text
		r.Method = text
		r.RemoteAddr = text
		for _, h := range []string{"User-Agent", "Referer", "X-Forwarded-For", "X-Request-Id", "Cookie"} {
			r.Header[h] = []string{text}
		}
		var out bytes.Buffer
		log := audit.NewLogger(&out, "json", "debug")
		audit.Middleware(log, nil, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			event.Log(r.Context(), log, slog.LevelWarn, event.BadCookie, event.Text("agent", r.UserAgent()))
			log.WarnContext(r.Context(), "raw", "referer", r.Referer())
		})).ServeHTTP(httptest.NewRecorder(), r)
		clean(t, out.String())
		if n := strings.Count(out.String(), "\n"); n != 4 {
			t.Errorf("%q: %d lines, want 4:\n%s", text, n, out.String())
		}
	}
}

// The logger writes where it is told to and nowhere else.
func TestASVS_16_2_3_OneSink(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var out bytes.Buffer
	audit.NewLogger(&out, "text", "info").InfoContext(context.Background(), "x")
	audit.ErrorLog(audit.NewLogger(&out, "text", "info")).Print("http: TLS handshake error from 192.0.2.1:1: EOF\r\nforged")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%v, %v, %q", entries, err, out.String())
	}
}
