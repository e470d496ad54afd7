package gcpsecrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
)

// TestRead: keys from the newest version, from a field, from a version; a token is
// asked for once. The token endpoint verifies the assertion, the API the token.
func TestRead(t *testing.T) {
	text := keyring.Generate().Text() + "\n"
	s := serve(t, text)
	src := s.open("")
	for range 2 {
		if ring, err := keyring.Load(t.Context(), src); err != nil || len(ring.Keys()) != 1 {
			t.Fatal(err)
		}
	}
	if got := s.called(); !slices.Equal(got, []string{"token", "access latest", "access latest"}) {
		t.Errorf("called %q", got)
	}
	s.add(`{"keys": ` + strconv.Quote("two") + `}`)
	if got, err := s.open("#keys").Read(t.Context()); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	old, err := gcpsecrets.Open(secret+"/versions/1?endpoint="+s.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := old.Read(t.Context()); err != nil || string(got) != text {
		t.Errorf("%v", err)
	}
	if err := old.Write(t.Context(), []byte(text), []byte("x")); err == nil || !strings.Contains(err.Error(), "for reading") {
		t.Errorf("write to a version: %v", err)
	}
}

// TestCredentials: those of a login, and of the metadata server, are found as Google's
// libraries find them; a file that is replaced after a refusal is read anew.
func TestCredentials(t *testing.T) {
	s := serve(t, "x")
	path := s.credentials(map[string]any{"private_key_id": "another"})
	src := s.open("")
	if _, err := src.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "credentials are refused") {
		t.Errorf("wrong key: %v", err)
	}
	good, err := os.ReadFile(s.credentials(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Read(t.Context()); err != nil {
		t.Errorf("after it was corrected: %v", err)
	}
	// A token that is taken back is replaced at the next look.
	s.mu.Lock()
	s.token = "another"
	s.mu.Unlock()
	_, first := src.Read(t.Context())
	if _, err := src.Read(t.Context()); first == nil || err != nil {
		t.Errorf("%v, then %v", first, err)
	}

	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	known := filepath.Join(os.Getenv("HOME"), ".config", "gcloud", "application_default_credentials.json")
	user, err := json.Marshal(map[string]string{"type": "authorized_user", "client_id": "id", "client_secret": "GOCSPX", "refresh_token": "1//REFRESH", "token_uri": s.URL + "/token"})
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(known), 0o700), os.WriteFile(known, user, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.open("").Read(t.Context()); err != nil {
		t.Errorf("login: %v", err)
	}
	os.Remove(known)

	asked := 0
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" || r.FormValue("scopes") != scope {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"access_token": "another", "expires_in": 3599, "token_type": "Bearer"})
	}))
	defer metadata.Close()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))
	src = s.open("")
	for range 2 {
		if _, err := src.Read(t.Context()); err != nil {
			t.Errorf("metadata server: %v", err)
		}
	}
	if asked != 1 {
		t.Errorf("the metadata server was asked %d times, want once", asked)
	}
}

// TestFollow: a rotation at the secret manager is seen, and an outage changes nothing.
func TestFollow(t *testing.T) {
	old := keyring.Generate()
	s := serve(t, old.Text())
	src := s.open("")
	ring, err := keyring.Load(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	looked, done, now := make(chan error, 100), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Hour, Now: now, Looked: func(_ bool, err error) { looked <- err }})
	}()
	look := func() error { now <- struct{}{}; return <-looked }
	if err := look(); err != nil {
		t.Fatal(err)
	}
	next := keyring.Generate()
	s.add(next.Text() + "\n" + old.AsRetiring(time.Now().Add(time.Hour)).Text())
	if err := look(); err != nil || ring.Active() != next.ID() {
		t.Errorf("active is %v after a rotation, want %v: %v", ring.Active(), next.ID(), err)
	}
	s.faulty(func(w http.ResponseWriter, _ string) bool {
		refuse(w, 403, "PERMISSION_DENIED", "no")
		return true
	})
	if err := look(); err == nil || ring.Active() != next.ID() {
		t.Errorf("active is %v in an outage, want %v: %v", ring.Active(), next.ID(), err)
	}
	cancel()
	<-done
}

// TestWrite: the new text is a new version; other fields stay.
func TestWrite(t *testing.T) {
	a, b := keyring.Generate().Text()+"\n", keyring.Generate().Text()+"\n"
	s := serve(t, `{"n": 1.0, "keys":`+strconv.Quote(a)+`, "é": "<&>" }`)
	src := s.open("#keys")
	if err := src.Write(t.Context(), []byte(a), []byte(b)); err != nil {
		t.Fatal(err)
	}
	if got, want := s.current(), `{"n": 1.0, "keys":`+strconv.Quote(b)+`, "é": "<&>" }`; got != want {
		t.Errorf("the secret is\n%s, want\n%s", got, want)
	}
	if got := s.called(); !slices.Equal(got, []string{"token", "access latest", "access 2", "addVersion"}) {
		t.Errorf("called %q", got)
	}
	if err := src.Write(t.Context(), []byte(a), []byte(b)); !errors.Is(err, keyring.ErrChanged) {
		t.Errorf("write over something else: %v", err)
	}
	if err := src.Write(t.Context(), []byte(b), []byte(strings.Repeat("#", 65537))); err == nil || !strings.Contains(err.Error(), "65536") {
		t.Errorf("write of too much: %v", err)
	}
}

// TestReadDoesNotGoBack: the alias latest may lag behind what was written or read
// already. Where the newest version is gone for good, the one before it counts.
func TestReadDoesNotGoBack(t *testing.T) {
	s := serve(t, "one")
	src := s.open("")
	if err := src.Write(t.Context(), []byte("one"), []byte("two")); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.lag = 1
	s.mu.Unlock()
	if got, err := src.Read(t.Context()); err != nil || string(got) != "two" {
		t.Errorf("reads %q after it wrote two: %v", got, err)
	}
	// Another process, which has not seen the second version, writes all the same
	// only over that.
	if err := s.open("").Write(t.Context(), []byte("one"), []byte("three")); !errors.Is(err, keyring.ErrChanged) || s.current() != "two" {
		t.Errorf("%v; the secret is %q", err, s.current())
	}
	s.mu.Lock()
	s.versions[1].state = "DISABLED"
	s.mu.Unlock()
	if got, err := src.Read(t.Context()); err != nil || string(got) != "one" {
		t.Errorf("reads %q after two was disabled: %v", got, err)
	}
}

// TestReadDoesNotGoBackInAnOutage: that a newer version cannot be read at the moment is
// no reason to go back to keys that may have leaked.
func TestReadDoesNotGoBackInAnOutage(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"throttled": func(w http.ResponseWriter, _ *http.Request) { refuse(w, 429, "RESOURCE_EXHAUSTED", "Quota exceeded") },
		"fails":     func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "UNAVAILABLE", "try again") },
		"denied":    func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "PERMISSION_DENIED", "no") },
		"KMS": func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, 400, "FAILED_PRECONDITION", "KMS key is disabled")
		},
		"invalid":      func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "INVALID_ARGUMENT", "no") },
		"of a proxy":   func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"not JSON":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) },
		"another text": func(w http.ResponseWriter, _ *http.Request) { answer(w, 2, []byte("two"), 1) },
	} {
		s := serve(t, "one")
		src := s.open("")
		if err := src.Write(t.Context(), []byte("one"), []byte("two")); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.lag = 1
		s.mu.Unlock()
		s.faulty(func(w http.ResponseWriter, call string) bool {
			if call == "access 2" {
				fault(w, new(http.Request))
			}
			return call == "access 2"
		})
		if got, err := src.Read(t.Context()); err == nil {
			t.Errorf("%s: reads %q after it wrote two", name, got)
		}
		s.faulty(nil)
		if got, err := src.Read(t.Context()); err != nil || string(got) != "two" {
			t.Errorf("%s, and is over: reads %q, %v", name, got, err)
		}
	}
}

// TestWriteGivesWay: of two who write at once the first counts, though the second
// was told last.
func TestWriteGivesWay(t *testing.T) {
	s := serve(t, "old")
	s.between = func() { s.versions = append(s.versions, version{data: []byte("of another")}) }
	err := s.open("").Write(t.Context(), []byte("old"), []byte("new"))
	if !errors.Is(err, keyring.ErrChanged) || s.current() != "of another" {
		t.Errorf("%v; the secret is %q", err, s.current())
	}
	// Where the others go on meanwhile, theirs stays.
	s = serve(t, "old")
	s.between = func() { s.versions = append(s.versions, version{data: []byte("of another")}) }
	s.fault = func(_ http.ResponseWriter, call string) bool {
		if call == "access 4" {
			s.versions = append(s.versions, version{data: []byte("of a third")})
		}
		return false
	}
	err = s.open("").Write(t.Context(), []byte("old"), []byte("new"))
	if !errors.Is(err, keyring.ErrChanged) || s.current() != "of a third" {
		t.Errorf("%v; the secret is %q", err, s.current())
	}
}

// TestWriteThatCannotGiveWay: where it is not known what somebody else has written, or
// it cannot be added once more, nobody is told that the keys have changed: who tried
// again would find their own change there, and take it for a success.
func TestWriteThatCannotGiveWay(t *testing.T) {
	for _, call := range []string{"access 4", "access 2", "addVersion"} {
		for _, status := range []int{http.StatusForbidden, http.StatusServiceUnavailable} {
			s := serve(t, "old")
			s.between = func() { // before that, version 2 is looked for as well
				s.versions = append(s.versions, version{data: []byte("of another")})
				s.fault = func(w http.ResponseWriter, now string) bool {
					if now == call {
						refuse(w, status, "STATUS", "hunter2")
					}
					return now == call
				}
			}
			err := s.open("").Write(t.Context(), []byte("old"), []byte("new"))
			if err == nil || errors.Is(err, keyring.ErrChanged) || !strings.Contains(err.Error(), "somebody else has changed the secret meanwhile, and version 2") {
				t.Errorf("%s fails with %d: %v; the secret is %q", call, status, err, s.current())
			}
		}
	}
}

// TestWriteWhoseAnswerIsLost: the version is added, and the connection breaks before
// that is said.
func TestWriteWhoseAnswerIsLost(t *testing.T) {
	s := serve(t, "old")
	s.fault = func(_ http.ResponseWriter, call string) bool {
		if call != "addVersion" {
			return false
		}
		s.versions = append(s.versions, version{data: []byte("new")})
		panic(http.ErrAbortHandler)
	}
	src := s.open("")
	if err := src.Write(t.Context(), []byte("old"), []byte("new")); err != nil || s.current() != "new" {
		t.Errorf("%v; the secret is %q", err, s.current())
	}
	s.behind(1)
	if got, err := src.Read(t.Context()); err != nil || string(got) != "new" {
		t.Errorf("reads %q after it wrote new: %v", got, err)
	}
}

// TestConcurrentWriters: two add a key each at once, again and again, and none of what
// was acknowledged is missing.
func TestConcurrentWriters(t *testing.T) {
	s := serve(t, keyring.Generate().Text()+"\n")
	srcs := []*gcpsecrets.Source{s.open(""), s.open("")}
	for round := range 10 {
		ids, errs := make(chan keyring.KeyID, len(srcs)), make(chan error, len(srcs))
		for _, src := range srcs {
			go func() {
				k := keyring.Generate()
				_, err := keyring.Edit(t.Context(), src, func(keys []keyring.Key) ([]keyring.Key, error) { return append(keys, k.AsNext()), nil })
				ids <- k.ID()
				errs <- err
			}()
		}
		for range srcs {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		ring, err := keyring.Read(strings.NewReader(s.current()))
		if err != nil {
			t.Fatal(err)
		}
		for range srcs {
			if id := <-ids; !ring.Has(id) {
				t.Errorf("round %d: key %v was lost", round, id)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("%d versions were added once more", len(s.versions)-1-10*len(srcs))
}

// TestOpenTellsAllFaults: every fault of a place, a line each, and nothing of it.
func TestOpenTellsAllFaults(t *testing.T) {
	for place, want := range map[string][]string{
		"":                                            {"no secret is named"},
		"?endpoint=hunter2&hunter2=1#":                {"no secret is named", "no field", "unknown parameter", "parameter endpoint"},
		"hunter2":                                     {"a secret is named like"},
		"projects/p/secrets/hunter2!":                 {"a secret is named like"},
		"projects/p/secrets/s/versions/":              {"a secret is named like"},
		"projects/p/secrets/s/versions/1/":            {"a secret is named like"},
		"projects/p/locations//secrets/s":             {"a secret is named like"},
		secret + "?endpoint=http://secrets.example":   {"plain http"},
		secret + "?endpoint=http://127.0.0.1.hunter2": {"plain http"},
		secret + "?endpoint=https://user:hunter2@secrets.example": {"want an address"},
		secret + "?endpoint=https://secrets.example/hunter2":      {"want an address"},
		secret + "?endpoint=https://a&endpoint=https://b":         {"write it once"},
		secret + "#f?endpoint=https://a":                          {"a ? behind the #"},
		strings.Repeat("hunter2", 1000):                           {"no place"},
	} {
		_, err := gcpsecrets.Open(place, nil)
		if err == nil {
			t.Errorf("%q: no error", place)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v, want %q", place, err, w)
			}
		}
		if lines := strings.Count(err.Error(), "\n") + 1; lines < len(want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %d lines: %v", place, lines, err)
		}
	}
	for _, timeout := range []time.Duration{-1, 1, time.Hour} {
		if _, err := gcpsecrets.Open(secret, &gcpsecrets.Options{Timeout: timeout}); err == nil {
			t.Errorf("timeout %v is taken", timeout)
		}
	}
	if _, err := gcpsecrets.Open(secret+"?endpoint=http://secrets.example", &gcpsecrets.Options{AllowPlaintext: true}); err != nil {
		t.Error(err)
	}
}

// TestString: a place comes out as it can be read again.
func TestString(t *testing.T) {
	for _, place := range []string{secret, "projects/example.com:p/secrets/s", "projects/1/locations/europe-west3/secrets/s/versions/7#keys", secret + "?endpoint=https%3A%2F%2Fa"} {
		src, err := gcpsecrets.Open(place, nil)
		if err != nil {
			t.Error(err)
		} else if got := src.String(); got != "gcp-sm:"+place {
			t.Errorf("%q comes out as %q", place, got)
		}
	}
}

// TestNothingRunsOn: between two calls there is no goroutine more than before.
func TestNothingRunsOn(t *testing.T) {
	s := serve(t, "x")
	before := runtime.NumGoroutine()
	src := s.open("")
	if _, err := src.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := src.Write(t.Context(), []byte("x"), []byte("y")); err != nil {
		t.Fatal(err)
	}
	// The server's goroutines end with the connections.
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}
