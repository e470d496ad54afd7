package metrics_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/metrics"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// scrape returns the lines that begin with cloakroom_.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	var own []string
	for line := range strings.Lines(rec.Body.String()) {
		if strings.HasPrefix(line, "cloakroom_") {
			own = append(own, strings.TrimSpace(line))
		}
	}
	return strings.Join(own, "\n")
}

func want(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text+"\n", "\n"+line+"\n") {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
}

// Events count whatever level the log is written at; what somebody else has worded does
// not become a label.
func TestEventsAreCounted(t *testing.T) {
	m := metrics.New("v0")
	log := slog.New(m.Log(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError})))
	for range 3 {
		event.Log(t.Context(), log, slog.LevelInfo, event.Login, event.User("zoe"))
	}
	event.Log(t.Context(), log.With("a", 1).WithGroup("g"), slog.LevelError, event.StoreDown)
	event.Log(t.Context(), log, slog.LevelDebug, event.Logout)
	log.Error("http: TLS handshake error from 192.0.2.1")
	log.Info("connected") // a library's word
	text := scrape(t, m)
	want(t, text, `cloakroom_events_total{event="login"} 3`, `cloakroom_events_total{event="store_down"} 1`)
	if n := strings.Count(text, "cloakroom_events_total"); n != len(event.Names()) {
		t.Errorf("%d events are counted, want those of the inventory:\n%s", n, text)
	}
	want(t, text, `cloakroom_events_total{event="logout"} 0`) // debug, and there before it has happened
	if strings.Contains(text, "zoe") {
		t.Error("a metric names somebody")
	}
}

// What is below level error is still written where the log wants it, and else not.
func TestLinesGoOn(t *testing.T) {
	var b strings.Builder
	log := slog.New(metrics.New("v0").Log(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn})))
	event.Log(t.Context(), log, slog.LevelInfo, event.Login)
	event.Log(t.Context(), log.With("k", "v"), slog.LevelWarn, event.Locked)
	if got := b.String(); strings.Contains(got, "login") || !strings.Contains(got, "locked") || !strings.Contains(got, "k=v") {
		t.Errorf("the log has %q", got)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	m := metrics.New("v0")
	h := m.Requests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hint":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/flush":
			_ = http.NewResponseController(w).Flush()
		}
	}))
	ask := func(method, path string) {
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
	}
	ask("GET", "/")
	ask("GET", "/flush")
	ask("POST", "/hint")
	ask("GET", "/abort")
	ask("MADEUP1", "/")
	ask("MADEUP2", "/")
	want(t, scrape(t, m),
		`cloakroom_http_requests_total{code="200",method="GET"} 2`,
		`cloakroom_http_requests_total{code="418",method="POST"} 1`,
		`cloakroom_http_requests_total{code="aborted",method="GET"} 1`,
		`cloakroom_http_requests_total{code="200",method="other"} 2`,
		`cloakroom_http_request_duration_seconds_count 6`,
		`cloakroom_http_requests_in_flight 0`)
}

// Keys are shown by their IDs, and no secret is.
func TestKeys(t *testing.T) {
	now := time.Now()
	old, k := keyring.Generate(), keyring.Generate()
	ring, err := keyring.New(k, old.AsRetiring(now.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	m := metrics.New("v0")
	at := time.UnixMilli(1_800_000_000_500)
	state := metrics.Keys{Ring: ring.Keys(), LastGood: at}
	m.Keys(func() metrics.Keys { return state })
	up := false
	m.Up("cloakroom_store_up", "Whether it is up.", func() bool { return up })
	text := scrape(t, m)
	want(t, text, `cloakroom_keys_source_up 0`, `cloakroom_keys_source_last_success_timestamp_seconds 1.8000000005e+09`, `cloakroom_store_up 0`)
	for _, id := range []string{`{key="` + k.ID().String() + `",state="active"}`, `{key="` + old.ID().String() + `",state="retiring"}`} {
		if !strings.Contains(text, "cloakroom_key_created_timestamp_seconds"+id) {
			t.Errorf("%s is not in\n%s", id, text)
		}
	}
	if !strings.Contains(text, `cloakroom_key_until_timestamp_seconds{key="`+old.ID().String()+`"}`) || strings.Count(text, "_until_") != 1 {
		t.Errorf("the end of the retiring key, and of no other, is not in\n%s", text)
	}
	for _, key := range []keyring.Key{k, old} {
		if secret := key.Text()[strings.LastIndexByte(key.Text(), ' ')+1:]; strings.Contains(text, secret) {
			t.Error("a metric shows a secret")
		}
	}
	state.Up, up = true, true
	want(t, scrape(t, m), `cloakroom_keys_source_up 1`, `cloakroom_store_up 1`)
}

func TestVersion(t *testing.T) {
	if text := scrape(t, metrics.New("v1.2.3")); !strings.Contains(text, `version="v1.2.3"`) {
		t.Error(text)
	}
}
