package cloakroom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
)

// talkative is a value whose own errors quote it, as those of many types do.
type talkative struct{ Secret string }

func (v talkative) MarshalJSON() ([]byte, error) {
	return nil, fmt.Errorf("cannot marshal %q", v.Secret)
}

func (v *talkative) UnmarshalJSON(b []byte) error { return fmt.Errorf("cannot unmarshal %s", b) }

// talkativeText does so as text.
type talkativeText struct{ Secret string }

func (v talkativeText) MarshalText() ([]byte, error) {
	return nil, fmt.Errorf("cannot marshal %q", v.Secret)
}

// misuse does with a session what goes wrong, with the value canary in it, and
// returns the errors that it met.
func misuse(t *testing.T, s *site, v *visitor, canary string, number int64) (said []string) {
	t.Helper()
	fail := func(name string, f func(*cloakroom.Session)) {
		v.do(func(_ http.ResponseWriter, r *http.Request) {
			s := cloakroom.FromContext(r.Context())
			f(s)
			if err := s.Commit(r.Context()); err != nil {
				said = append(said, err.Error())
			} else if !strings.HasPrefix(name, "get") {
				t.Errorf("%s: no error", name)
			}
			f(s) // and once more, for the Manager to find
		})
	}
	v.visit(func(s *cloakroom.Session) {
		word.Set(s, canary)
		cloakroom.NewKey[int64]("number").Set(s, number)
		cloakroom.NewKey[map[string]string]("map").Set(s, map[string]string{canary: canary})
	})
	get := func(f func(*cloakroom.Session)) { fail("get", f) }
	get(func(s *cloakroom.Session) { cloakroom.NewKey[int]("word").Get(s) })
	get(func(s *cloakroom.Session) { cloakroom.NewKey[time.Time]("word").Get(s) })
	get(func(s *cloakroom.Session) { cloakroom.NewKey[int8]("number").Get(s) })
	get(func(s *cloakroom.Session) { cloakroom.NewKey[map[int]string]("map").Get(s) })
	get(func(s *cloakroom.Session) { cloakroom.NewKey[talkative]("word").GetOr(s, talkative{}) })
	get(func(s *cloakroom.Session) { cloakroom.NewKey[json.Number]("word").Get(s) })
	get(func(s *cloakroom.Session) { cloakroom.NewKey[time.Time]("word").Pop(s); word.Set(s, canary) })
	fail("update of another type", func(s *cloakroom.Session) {
		cloakroom.NewKey[int]("word").Update(s, func(n int) int { return n })
	})
	fail("update of a time", func(s *cloakroom.Session) {
		cloakroom.NewKey[time.Time]("word").Update(s, func(t time.Time) time.Time { return t })
	})
	fail("update of a small number", func(s *cloakroom.Session) {
		cloakroom.NewKey[int8]("number").Update(s, func(n int8) int8 { return n })
	})
	fail("update of another key", func(s *cloakroom.Session) {
		cloakroom.NewKey[map[int]string]("map").Update(s, func(m map[int]string) map[int]string { return m })
	})
	fail("set of a number that is none", func(s *cloakroom.Session) {
		cloakroom.NewKey[json.Number]("bad").Set(s, json.Number(canary))
	})
	fail("set of raw JSON that is none", func(s *cloakroom.Session) {
		cloakroom.NewKey[json.RawMessage]("bad").Set(s, json.RawMessage("{"+canary))
	})
	fail("set of a talkative value", func(s *cloakroom.Session) {
		cloakroom.NewKey[talkative]("bad").Set(s, talkative{canary})
	})
	fail("set of a talkative text", func(s *cloakroom.Session) {
		cloakroom.NewKey[talkativeText]("bad").Set(s, talkativeText{canary})
	})
	fail("set of no number", func(s *cloakroom.Session) { cloakroom.NewKey[float64]("bad").Set(s, math.NaN()) })
	fail("set of a channel", func(s *cloakroom.Session) { cloakroom.NewKey[chan int]("bad").Set(s, nil) })
	fail("set of too much", func(s *cloakroom.Session) {
		word.Set(s, strings.Repeat(canary, cloakroom.DefaultMaxBytes/len(canary)))
	})
	fail("login of nobody", func(s *cloakroom.Session) { s.Login(cloakroom.Identity{Method: canary}) })
	fail("login of too long a user", func(s *cloakroom.Session) {
		s.Login(cloakroom.Identity{UserID: strings.Repeat(canary, 30), Roles: []string{canary}})
	})
	return said
}

// Everything goes wrong that can, at the lowest level of the log, and neither log
// nor errors nor answers say a token, a value, a key or an ID.
func TestPromise11_NeitherLogNorErrorsSayASecret(t *testing.T) {
	const canary, number = "canary-9f31c7", 770_077_007_700_770_077
	for name, handler := range map[string]func(*logbook) slog.Handler{
		"text": func(l *logbook) slog.Handler {
			return slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})
		},
		"JSON": func(l *logbook) slog.Handler {
			return slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})
		},
	} {
		book := new(logbook)
		s := newSite(t, &cloakroom.Options{Logger: slog.New(handler(book))})
		v := s.visitor(t)
		v.visit(func(s *cloakroom.Session) {
			s.Login(cloakroom.Identity{UserID: "u1", Method: canary, Roles: []string{canary}})
		})
		said := misuse(t, s, v, canary, number)
		var secrets []string
		remember := func() {
			raw, token := v.token()
			for _, secret := range [][]byte{raw, token, raw[37:]} {
				for _, form := range spellings(secret) {
					secrets = append(secrets, string(form))
				}
			}
			secrets = append(secrets, v.id().String())
		}
		remember()
		v.visit(func(s *cloakroom.Session) { s.Renew() })
		remember()

		// Cookies that are almost right, two at once, a record that does not open.
		other := s.signedIn(t, "u2")
		for _, c := range []string{v.cookie[:len(v.cookie)-1], v.cookie + "A", cookieName + "=" + canary, v.cookie + "; " + other.cookie} {
			(&visitor{tb: t, m: s.Manager, cookie: c}).user()
		}
		s.spy.lie(func(r store.Record) store.Record { r.UserID = "admin"; return r })
		(&visitor{tb: t, m: s.Manager, cookie: v.cookie}).user()
		s.spy.lie(nil)
		// A store that is down, at each step.
		for _, down := range []string{"get", "put", "touch", "end", "list", "enduser"} {
			s.spy.on(func(_ context.Context, op string) error {
				if op == down {
					return errors.New("dial tcp 10.0.0.7:5432: connection refused")
				}
				return nil
			})
			probe := *v
			w := probe.do(func(_ http.ResponseWriter, r *http.Request) {
				s := cloakroom.FromContext(r.Context())
				word.Set(s, canary+"!")
				s.Renew()
			})
			said = append(said, answer(w))
			probe = *v
			probe.do(func(_ http.ResponseWriter, r *http.Request) {
				if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
					said = append(said, err.Error())
				}
			})
			if _, err := s.List(t.Context(), "u1"); err != nil {
				said = append(said, err.Error())
			}
			s.spy.on(nil)
			if v = s.visitor(t); down != "enduser" {
				v.login("u1")
				remember()
			}
		}
		// What comes too late, and what is printed by mistake.
		var kept *cloakroom.Session
		v.login("u1")
		v.visit(func(s *cloakroom.Session) { kept = s; word.Set(s, canary); s.UserID() })
		remember()
		word.Set(kept, canary)
		kept.Login(cloakroom.Identity{UserID: "u1", Method: canary})
		log := s.Logger()
		log.Info("printed", "session", kept, "manager", s.Manager, "ring", s.ring, "key", s.key)
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			said = append(said, fmt.Sprintf(format, kept), fmt.Sprintf(format, s.Manager), fmt.Sprintf(format, []any{kept}))
		}
		for _, v := range []any{kept, s.Manager} {
			if b, err := json.Marshal(v); err == nil {
				said = append(said, string(b))
			}
		}
		infos, err := s.List(t.Context(), "u1")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.End(t.Context(), infos[0].ID); err != nil {
			t.Fatal(err)
		}

		secrets = append(secrets, canary, fmt.Sprint(int64(number)))
		fields := strings.Fields(s.key.Text())
		secrets = append(secrets, fields[len(fields)-1])
		all := book.String() + strings.Join(said, "\n")
		if n := strings.Count(book.String(), "\n"); n < 40 || len(said) < 30 {
			t.Errorf("%s: only %d log lines and %d errors were looked at", name, n, len(said))
		}
		for _, secret := range secrets {
			if i := strings.Index(all, secret); i >= 0 {
				t.Errorf("%s: %q is said: ...%s", name, secret, all[max(0, i-200):min(len(all), i+50)])
			}
		}
	}
}

// A value that cannot be read or written says its name and its types, and what
// exactly is wrong to the program alone.
func TestPromise11_ValueErrorsNameTypesAndNotValues(t *testing.T) {
	v := newSite(t, nil).visitor(t)
	v.visit(func(s *cloakroom.Session) { word.Set(s, "canary") })
	for want, f := range map[string]func(*cloakroom.Session){
		`session value "word": JSON string does not fit Go type int`: func(s *cloakroom.Session) {
			cloakroom.NewKey[int]("word").Update(s, func(n int) int { return n })
		},
		`session value "word": not the JSON of its type`: func(s *cloakroom.Session) {
			cloakroom.NewKey[time.Time]("word").Update(s, func(t time.Time) time.Time { return t })
		},
		`session value "bad": not the JSON of its type`: func(s *cloakroom.Session) {
			cloakroom.NewKey[json.Number]("bad").Set(s, "canary")
		},
		`session value "bad": Go type cloakroom_test.talkative does not encode itself`: func(s *cloakroom.Session) {
			cloakroom.NewKey[talkative]("bad").Set(s, talkative{"canary"})
		},
		`session value "bad": json: unsupported type: chan int`: func(s *cloakroom.Session) {
			cloakroom.NewKey[chan int]("bad").Set(s, nil)
		},
		`session value "bad": json: unsupported value: NaN`: func(s *cloakroom.Session) {
			cloakroom.NewKey[float64]("bad").Set(s, math.NaN())
		},
	} {
		v.do(func(_ http.ResponseWriter, r *http.Request) {
			s := cloakroom.FromContext(r.Context())
			f(s)
			err := s.Commit(r.Context())
			valueErr, ok := errors.AsType[*cloakroom.ValueError](err)
			if !ok || err.Error() != "cloakroom: save session: "+want {
				t.Fatalf("error is %v, want %s", err, want)
			}
			if valueErr.Unwrap() == nil || valueErr.Name != "word" && valueErr.Name != "bad" {
				t.Errorf("the program is told %+v", valueErr)
			}
		})
	}
}

// TestASVS_16_5_1_AnswersSayNothingOfTheCause: whatever goes wrong, the body is
// one of a few fixed texts.
func TestASVS_16_5_1_AnswersSayNothingOfTheCause(t *testing.T) {
	internals := errors.New(`pq: relation "sessions" does not exist at /srv/app/store.go:42 in db-7.internal`)
	for name, test := range map[string]struct {
		err    error
		status int
		detail string
	}{
		"renewed":     {fmt.Errorf("x: %w: %w", cloakroom.ErrRenewed, internals), 409, "Session renewed"},
		"ended":       {fmt.Errorf("x: %w: %w", cloakroom.ErrEnded, internals), 409, "Session ended"},
		"unavailable": {fmt.Errorf("x: %w: %w", cloakroom.ErrUnavailable, internals), 503, "Unavailable"},
		"too large":   {fmt.Errorf("x: %w: %w", cloakroom.ErrTooLarge, internals), 500, "Internal error"},
		"header":      {cloakroom.ErrHeaderSent, 500, "Internal error"},
		"finished":    {cloakroom.ErrFinished, 500, "Internal error"},
		"skipped":     {cloakroom.ErrSkipped, 500, "Internal error"},
		"value":       {&cloakroom.ValueError{Name: "secret name", Err: internals}, 500, "Internal error"},
		"other":       {internals, 500, "Internal error"},
	} {
		for accept, want := range map[string]string{
			"":          fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":%q}`+"\n", http.StatusText(test.status), test.status, test.detail),
			"text/html": test.detail,
		} {
			r := httptest.NewRequest("POST", "/secret/path?secret=query", nil)
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			cloakroom.WriteError(w, r, test.err)
			body := w.Body.String()
			if w.Code != test.status || !strings.Contains(body, want) {
				t.Errorf("%s: answer is %d %s", name, w.Code, body)
			}
			for _, inner := range []string{"pq", "srv", "db-7", "secret", "goroutine", ".go"} {
				if strings.Contains(body, inner) {
					t.Errorf("%s: answer says %q: %s", name, inner, body)
				}
			}
		}
	}
}

// The page of a renewed session is asked for once more by a browser, at this host
// and nowhere else.
func TestWriteErrorSendsANavigationToItsOwnAddress(t *testing.T) {
	for uri, want := range map[string]string{
		"/":                    "/",
		"/a/b?c=d&e=%2F":       "/a/b?c=d&e=%2F",
		"//evil.example":       "",
		`/\evil.example`:       "",
		"/a\\b":                "",
		"http://evil.example/": "",
		"evil":                 "",
		"":                     "",
		"/a b":                 "",
		"/a\r\nX: y":           "",
		"/a\x7f":               "",
		"*":                    "",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RequestURI = uri
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		cloakroom.WriteError(w, r, cloakroom.ErrRenewed)
		if got := w.Header().Get("Location"); got != want || (w.Code == http.StatusSeeOther) != (want != "") {
			t.Errorf("%q: answer is %d to %q, want %q", uri, w.Code, got, want)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%q: the answer may be kept", uri)
		}
	}
	// A program, and what is no navigation, is told.
	for name, change := range map[string]func(*http.Request){
		"post":    func(r *http.Request) { r.Method = "POST" },
		"program": func(r *http.Request) { r.Header.Set("Accept", "application/json") },
		"fetch":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "cors") },
		"image":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "image") },
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", "text/html")
		change(r)
		w := httptest.NewRecorder()
		cloakroom.WriteError(w, r, cloakroom.ErrRenewed)
		if w.Code != http.StatusConflict || w.Header().Get("Location") != "" {
			t.Errorf("%s: answer is %d", name, w.Code)
		}
	}
}

// Errors of New show no key.
func TestPromise11_FaultsOfOptionsShowNoKey(t *testing.T) {
	key := keyring.Generate()
	_, err := cloakroom.New(nil, newRing(t, key), &cloakroom.Options{MaxSessions: -1, CookieName: " ", Lifetime: -1})
	if err == nil || strings.Contains(err.Error(), strings.Fields(key.Text())[4]) {
		t.Errorf("error is %v", err)
	}
}
