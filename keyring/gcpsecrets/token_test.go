package gcpsecrets_test

import (
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring/gcpsecrets"
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

// refusedLate has a Read wait for its answer, which is a refusal of its token, until late is
// called; that returns what Read made of it.
func refusedLate(t *testing.T, s *server, src *gcpsecrets.Source) (late func() error) {
	arrived, answer, read := make(chan struct{}), make(chan struct{}), make(chan error)
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
		read <- err
	}()
	<-arrived
	return func() error {
		close(answer)
		return <-read
	}
}

// TestTokenAfterALateRefusal: a refusal of the token before does not throw the new one
// away.
func TestTokenAfterALateRefusal(t *testing.T) {
	s := serve(t, "x")
	src := s.open("")
	_, good := src.Read(t.Context())
	late := refusedLate(t, s, src)
	s.retoken("another")
	_, refused := src.Read(t.Context())
	s.mu.Lock()
	s.tokenFault = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }
	s.mu.Unlock()
	_, none := src.Read(t.Context())
	check(t, "late", late(), "the token is refused")
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

// TestFreshTokenAfterALateRefusal: a refusal of the token before, which comes when there
// is another already, does not throw that one away.
func TestFreshTokenAfterALateRefusal(t *testing.T) {
	s := serve(t, "x")
	src := s.open("")
	_, good := src.Read(t.Context())
	late := refusedLate(t, s, src)
	s.retoken("another")
	_, refused := src.Read(t.Context())
	_, fresh := src.Read(t.Context())
	check(t, "late", late(), "the token is refused")
	check(t, "refused", refused, "the token is refused")
	s.called()
	if _, err := src.Read(t.Context()); err != nil || good != nil || fresh != nil {
		t.Errorf("%v, %v, %v", good, fresh, err)
	}
	if got := s.called(); !slices.Equal(got, []string{"access latest"}) {
		t.Errorf("called %q", got)
	}
	// The fresh one may be refused as well.
	s.retoken("third")
	_, refused = src.Read(t.Context())
	check(t, "refused again", refused, "the token is refused")
	if _, err := src.Read(t.Context()); err != nil {
		t.Error(err)
	}
}
