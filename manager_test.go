package cloakroom_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

func TestWhatAManagerTells(t *testing.T) {
	s := newSite(t, nil)
	for addr, want := range map[string]string{
		"192.0.2.1:1234": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "@": "@", "": "", "pipe": "pipe",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = addr
		r.Header.Set("X-Forwarded-For", "203.0.113.9") // anybody may say that
		if got := s.ClientAddr(r); got != want {
			t.Errorf("client of %q is %q, want %q", addr, got, want)
		}
	}
	behind := newSite(t, &cloakroom.Options{ClientAddr: func(r *http.Request) string { return r.Header.Get("X-Real-Ip") }})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Real-Ip", "203.0.113.9")
	if got := behind.ClientAddr(r); got != "203.0.113.9" {
		t.Errorf("behind a proxy the client is %q", got)
	}
}

// What one package signs is signed for that package and this audience only.
func TestASVS_9_2_3_PurposesOfOtherPackages(t *testing.T) {
	s := newSite(t, nil)
	elsewhere, err := cloakroom.New(memstore.New(nil), s.ring, &cloakroom.Options{Audience: "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("message")
	key, tag := s.Purpose("test", "context").Sign(msg)
	if !s.Purpose("test", "context").Verify(key, msg, tag[:]) {
		t.Error("a purpose does not know its own signature")
	}
	for name, p := range map[string]*keyring.Purpose{
		"another audience": elsewhere.Purpose("test", "context"),
		"another label":    s.Purpose("other", "context"),
		"another context":  s.Purpose("test"),
	} {
		if p.Verify(key, msg, tag[:]) {
			t.Errorf("%s takes the signature", name)
		}
	}
}

// enriching is a log handler that adds the user to each line, as programs like to.
type enriching struct{ slog.Handler }

func (h enriching) Handle(ctx context.Context, r slog.Record) error {
	if user, ok := userOf(ctx); ok {
		r.AddAttrs(slog.String("signed_in", user))
	}
	return h.Handler.Handle(ctx, r)
}

// userOf is the user of a context that may have no session.
func userOf(ctx context.Context) (user string, ok bool) {
	defer func() { ok = recover() == nil }()
	return cloakroom.FromContext(ctx).UserID(), true
}

// A log handler and a store may look at the session of the context they get,
// while that session is being saved.
func TestLogAndStoreMayLookAtTheSession(t *testing.T) {
	s := newSite(t, &cloakroom.Options{Logger: slog.New(enriching{slog.DiscardHandler}), MaxSessions: 1})
	s.spy.on(func(ctx context.Context, op string) error {
		userOf(ctx)
		return nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 {
			v := s.visitor(t)
			v.visit(func(s *cloakroom.Session) { word.Set(s, "x") })
			v.do(func(w http.ResponseWriter, r *http.Request) {
				s := cloakroom.FromContext(r.Context())
				login(s)
				if err := s.Commit(r.Context()); err != nil {
					t.Error(err)
				}
				cloakroom.NewKey[int]("word").Get(s)
				s.Alive(r.Context())
				s.Renew()
			})
			v.do(func(w http.ResponseWriter, r *http.Request) {
				if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a session waits for itself")
	}
}
