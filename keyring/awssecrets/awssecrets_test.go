package awssecrets_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/keyring/awssecrets"
)

func open(t *testing.T, place string) *awssecrets.Source {
	t.Helper()
	src, err := awssecrets.Open(place, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// quote writes a text as a JSON string.
func quote(s string) string { return strconv.Quote(s) }

// TestRead: keys from a whole secret, from a field, by name and by ARN, text stored
// as binary, and the version of another stage. Every request passes the server's own
// check of its signature.
func TestRead(t *testing.T) {
	text := keyring.Generate().Text() + "\n"
	s := serve(t, text)
	ring, err := keyring.Load(t.Context(), open(t, name))
	if err != nil || len(ring.Keys()) != 1 {
		t.Fatalf("%v", err)
	}
	if got := s.called(); !slices.Equal(got, []string{"GetSecretValue"}) {
		t.Errorf("called %q", got)
	}
	s.set("22222222-2222-4222-8222-222222222222", `{"other":"x","keys": `+quote(text)+`}`)
	t.Setenv("AWS_REGION", "")
	for _, place := range []string{name + "?region=" + region + "#keys", name + "?version-stage=AWSCURRENT&region=" + region + "#%6beys"} {
		if got, err := open(t, place).Read(t.Context()); err != nil || string(got) != text {
			t.Errorf("%s: %v", place, err)
		}
	}
	arn := "arn:aws:secretsmanager:" + region + ":123456789012:secret:prod/cloakroom-AbCdEf"
	s.mu.Lock()
	s.name = arn
	s.binary["33333333-3333-4333-8333-333333333333"] = []byte(text)
	s.stages["blue"] = "33333333-3333-4333-8333-333333333333"
	s.mu.Unlock()
	if got, err := open(t, arn+"?version-stage=blue").Read(t.Context()); err != nil || string(got) != text {
		t.Errorf("%v", err)
	}
}

// TestCredentials: of a session, of a profile, and of a web identity's role are found
// as the SDK finds them; a file that is replaced after a refusal is read anew.
func TestCredentials(t *testing.T) {
	s := serve(t, "x")
	s.session = "FwoGZXIvYXdzSESSION//////////=="
	t.Setenv("AWS_SESSION_TOKEN", s.session)
	if _, err := open(t, name).Read(t.Context()); err != nil {
		t.Errorf("session: %v", err)
	}
	s.session = ""
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_PROFILE", "prod")
	file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	write := func(secret string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("[prod]\naws_access_key_id = "+s.key+"\naws_secret_access_key = "+secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	src := open(t, name)
	_, err := src.Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), "credentials are refused") {
		t.Errorf("wrong profile: %v", err)
	}
	write(s.secret)
	if _, err := src.Read(t.Context()); err != nil {
		t.Errorf("profile after it was corrected: %v", err)
	}
}

// TestFollow: a rotation at the secret manager is seen, and an outage changes nothing.
func TestFollow(t *testing.T) {
	old := keyring.Generate()
	s := serve(t, old.Text())
	src := open(t, name)
	ring, err := keyring.Load(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	looked, done := make(chan error, 100), make(chan struct{})
	now := make(chan struct{})
	go func() {
		defer close(done)
		ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Hour, Now: now, Looked: func(_ bool, err error) { looked <- err }})
	}()
	look := func() error { now <- struct{}{}; return <-looked }
	next := keyring.Generate()
	if err := look(); err != nil {
		t.Fatal(err)
	}
	s.set("22222222-2222-4222-8222-222222222222", next.Text()+"\n"+old.AsRetiring(time.Now().Add(time.Hour)).Text())
	if err := look(); err != nil || ring.Active() != next.ID() {
		t.Errorf("active is %v after a rotation, want %v: %v", ring.Active(), next.ID(), err)
	}
	s.faulty(func(w http.ResponseWriter, _ string) bool { refuse(w, 400, "AccessDeniedException", "no"); return true })
	if err := look(); err == nil || ring.Active() != next.ID() {
		t.Errorf("active is %v in an outage, want %v: %v", ring.Active(), next.ID(), err)
	}
	cancel()
	<-done
}

// TestWrite: the new text is the current version, the old one the previous one; other
// fields stay; binary stays binary.
func TestWrite(t *testing.T) {
	a, b := keyring.Generate().Text()+"\n", keyring.Generate().Text()+"\n"
	s := serve(t, `{"n": 1.0, "keys":`+quote(a)+`, "é": "<&>" }`)
	src := open(t, name+"#keys")
	if err := src.Write(t.Context(), []byte(a), []byte(b)); err != nil {
		t.Fatal(err)
	}
	if got, want := s.current(), `{"n": 1.0, "keys":`+quote(b)+`, "é": "<&>" }`; got != want {
		t.Errorf("the secret is\n%s, want\n%s", got, want)
	}
	if got := s.called(); !slices.Equal(got, []string{"GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"}) {
		t.Errorf("called %q", got)
	}
	s.mu.Lock()
	if s.stages["AWSPREVIOUS"] != "11111111-1111-4111-8111-111111111111" || s.stages["AWSPENDING"] != "" {
		t.Errorf("stages are %v", s.stages)
	}
	id := s.stages["AWSCURRENT"]
	s.binary[id] = []byte(a)
	s.mu.Unlock()
	if err := open(t, name).Write(t.Context(), []byte(a), []byte(b)); err != nil {
		t.Fatal(err)
	}
	if string(s.binary[s.stages["AWSCURRENT"]]) != b {
		t.Error("binary did not stay binary")
	}
	if err := open(t, name+"?version-stage=AWSPREVIOUS").Write(t.Context(), []byte(a), []byte(b)); err == nil || !strings.Contains(err.Error(), "for reading") {
		t.Errorf("write to a stage: %v", err)
	}
	if err := open(t, name).Write(t.Context(), []byte(b), []byte(strings.Repeat("#", 65537))); err == nil || !strings.Contains(err.Error(), "65536") {
		t.Errorf("write of too much: %v", err)
	}
}

// TestWriteIsCompareAndSet: of what somebody else writes nothing is lost, be it
// before the first call, or between the storing and the moving of the label.
func TestWriteIsCompareAndSet(t *testing.T) {
	s := serve(t, "old")
	src := open(t, name)
	if err := src.Write(t.Context(), []byte("older"), []byte("new")); !errors.Is(err, keyring.ErrChanged) || s.current() != "old" {
		t.Errorf("%v; the secret is %q", err, s.current())
	}
	s.between = func() {
		s.versions["22222222-2222-4222-8222-222222222222"] = "of another"
		s.stages["AWSCURRENT"] = "22222222-2222-4222-8222-222222222222"
	}
	if err := src.Write(t.Context(), []byte("old"), []byte("new")); !errors.Is(err, keyring.ErrChanged) || s.current() != "of another" {
		t.Errorf("%v; the secret is %q", err, s.current())
	}
}

// TestWriteWhoseAnswerIsLost: the label has moved, and the connection breaks before
// that is said. The repeated attempt finds it moved, which is no change by others.
func TestWriteWhoseAnswerIsLost(t *testing.T) {
	s := serve(t, "old")
	lost := 0
	s.fault = func(w http.ResponseWriter, action string) bool {
		if action != "UpdateSecretVersionStage" || lost > 0 {
			return false
		}
		lost++
		s.stages["AWSCURRENT"] = s.stages["CLOAKROOMPENDING"]
		panic(http.ErrAbortHandler)
	}
	if err := open(t, name).Write(t.Context(), []byte("old"), []byte("new")); err != nil || s.current() != "new" {
		t.Errorf("%v; the secret is %q", err, s.current())
	}
	if lost != 1 {
		t.Error("no answer was lost")
	}
}

// TestConcurrentWriters: each adds a key of its own, several at once, and none of
// those that were told so is missing.
func TestConcurrentWriters(t *testing.T) {
	s := serve(t, keyring.Generate().Text()+"\n")
	const writers = 4
	errs := make(chan error, writers)
	ids := make(chan keyring.KeyID, writers)
	for range writers {
		go func() {
			src, err := awssecrets.Open(name, nil)
			if err != nil {
				errs <- err
				return
			}
			k := keyring.Generate()
			_, err = keyring.Edit(t.Context(), src, func(keys []keyring.Key) ([]keyring.Key, error) {
				return append(keys, k.AsNext()), nil
			})
			ids <- k.ID()
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	ring, err := keyring.Read(strings.NewReader(s.current()))
	if err != nil || len(ring.Keys()) != 1+writers {
		t.Fatalf("%v; there are %d keys", err, len(ring.Keys()))
	}
	for range writers {
		if id := <-ids; !ring.Has(id) {
			t.Errorf("key %v was lost", id)
		}
	}
}

// TestOpenTellsAllFaults: every fault of a place, a line each, and nothing of it.
func TestOpenTellsAllFaults(t *testing.T) {
	for place, want := range map[string][]string{
		"":                                 {"no secret is named"},
		"?region=x#":                       {"no secret is named", "parameter region", "no field"},
		"a b?hunter2=1&version-stage=%00#": {"letters, digits", "unknown parameter", "staging label", "no field"},
		"n?region=eu-central-1&region=eu-central-1": {"parameter region: write it once"},
		"n?region=":               {"parameter region: write it once"},
		"n#f?region=eu-central-1": {"a ? behind the #"},
		"n#%zz":                   {"the field behind # cannot be read"},
		"n?%zz":                   {"the part behind ?"},
		"arn:aws:s3:::hunter2":    {"an ARN of a secret"},
		"arn:aws:secretsmanager:eu-central-1:12345678901:secret:hunter2":            {"an ARN of a secret"},
		"arn:aws:secretsmanager:eu-west-1:123456789012:secret:n-A?region=us-east-1": {"two regions"},
		strings.Repeat("hunter2", 1000):                                             {"no place"},
		"hunter2!":                                                                  {"letters, digits"},
	} {
		_, err := awssecrets.Open(place, nil)
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
		if _, err := awssecrets.Open("n", &awssecrets.Options{Timeout: timeout}); err == nil {
			t.Errorf("timeout %v is taken", timeout)
		}
	}
}

// TestString: a place comes out as it can be read again.
func TestString(t *testing.T) {
	for _, place := range []string{"n", "a/b+c=.@-_", "n?region=eu-central-1#keys", "n#a%20b"} {
		if got := open(t, place).String(); got != "aws-sm:"+place {
			t.Errorf("%q comes out as %q", place, got)
		}
	}
}

// TestASVS_12_3_1_Plaintext: an endpoint in clear is refused, whoever names it,
// before a byte is sent.
func TestASVS_12_3_1_Plaintext(t *testing.T) {
	serve(t, "x")
	profile := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(profile, []byte("[default]\nendpoint_url = http://192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, value string }{
		{"AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://192.0.2.1:8080"}, {"AWS_ENDPOINT_URL", "http://secrets.example"}, {"AWS_CONFIG_FILE", profile},
		{"AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1.example"}, {"AWS_ENDPOINT_URL_SECRETS_MANAGER", "ftp://localhost"},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "")
			t.Setenv(c.name, c.value)
			_, err := open(t, name).Read(t.Context())
			if err == nil || !strings.Contains(err.Error(), "https") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestAllowPlaintext: who asks for it may send secrets in clear.
func TestAllowPlaintext(t *testing.T) {
	serve(t, "x")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://192.0.2.1")
	src, err := awssecrets.Open(name, &awssecrets.Options{AllowPlaintext: true, Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Read(t.Context()); err == nil || strings.Contains(err.Error(), "https") {
		t.Errorf("%v", err)
	}
}

// TestNothingRunsOn: between two calls there is no goroutine more than before.
func TestNothingRunsOn(t *testing.T) {
	serve(t, "x")
	before := runtime.NumGoroutine()
	src := open(t, name)
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
