package gcpsecrets_test

import (
	"net/http"
	"os"
	"slices"
	"testing"
)

// retoken has the API take another token from now on, and no more the one before.
func (s *server) retoken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// TestTokenAfterARefusal: a token that was refused is not shown again, though there was
// no other at first.
func TestTokenAfterARefusal(t *testing.T) {
	s := serve(t, "x")
	src := s.open("")
	_, good := src.Read(t.Context())
	s.retoken("another")
	_, refused := src.Read(t.Context())
	path := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path+".gone")
	_, gone := src.Read(t.Context())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	s.called()
	if _, err := src.Read(t.Context()); err != nil || good != nil {
		t.Errorf("%v, %v", good, err)
	}
	check(t, "refused", refused, "the token is refused")
	check(t, "gone", gone, "is not there")
	if got := s.called(); !slices.Equal(got, []string{"token", "access latest"}) {
		t.Errorf("called %q", got)
	}
}

// TestTokenAfterALateRefusal: a refusal of the token before does not throw the new one
// away.
func TestTokenAfterALateRefusal(t *testing.T) {
	s := serve(t, "x")
	src := s.open("")
	_, good := src.Read(t.Context())
	arrived, answer, late := make(chan struct{}), make(chan struct{}), make(chan error)
	s.faulty(func(w http.ResponseWriter, _ string) bool {
		s.fault = nil
		s.mu.Unlock()
		close(arrived)
		<-answer
		s.mu.Lock()
		refuse(w, 401, "UNAUTHENTICATED", "too late")
		return true
	})
	go func() {
		_, err := src.Read(t.Context())
		late <- err
	}()
	<-arrived
	s.retoken("another")
	_, refused := src.Read(t.Context())
	s.mu.Lock()
	s.tokenFault = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }
	s.mu.Unlock()
	_, none := src.Read(t.Context())
	close(answer)
	check(t, "late", <-late, "the token is refused")
	check(t, "refused", refused, "the token is refused")
	check(t, "none", none, "the credentials are refused")
	s.mu.Lock()
	s.tokenFault = nil
	s.mu.Unlock()
	s.called()
	for range 2 {
		if _, err := src.Read(t.Context()); err != nil || good != nil {
			t.Errorf("%v, %v", good, err)
		}
	}
	if got := s.called(); !slices.Equal(got, []string{"token", "access latest", "access latest"}) {
		t.Errorf("called %q", got)
	}
}
