package gcpsecrets_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// behind has the alias latest lag behind by so many versions from now on.
func (s *server) behind(versions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = versions
}

// TestReadGoesBackNoFurther: what is read in the place of a version that was disabled is
// not followed by anything older either.
func TestReadGoesBackNoFurther(t *testing.T) {
	s := serve(t, "one")
	src := s.open("")
	for _, text := range []string{"two", "three", "four"} {
		s.add(text)
	}
	for lag, want := range []string{"four", "three", "three", "three"} {
		s.behind(lag)
		if got, err := src.Read(t.Context()); err != nil || string(got) != want {
			t.Errorf("reads %q where latest lags behind by %d, want %s: %v", got, lag, want, err)
		}
		s.mu.Lock()
		s.versions[3].state = "DISABLED"
		s.mu.Unlock()
	}
}

// TestReadGoesBackWhereAVersionIsGone: as the service says in words, in which the names
// of the project and of the secret count for nothing.
func TestReadGoesBackWhereAVersionIsGone(t *testing.T) {
	const name = "Secret Version [projects/kms/secrets/ekm-kms-cryptokey/versions/2] "
	for message, want := range map[string]string{
		name + "is in DISABLED state.":  "one",
		name + "is in DESTROYED state.": "one",
		"Secret Version [projects/1/locations/europe-west3/secrets/kms/versions/2] is in DESTROYED state.": "one",
		"Secret Version [projects/p/secrets/disabled/versions/2] is being replicated.":                     "",
		name + "is being replicated; another one is disabled.":                                             "",
		name + "cannot be decrypted as its CryptoKey is disabled":                                          "",
		"The external key manager (EKM) of the version is disabled":                                        "",
		"The external key manager (EKM) is unreachable, try again":                                         "",
		"Replication in europe-west3 is not complete":                                                      "",
	} {
		s := serve(t, "one")
		src := s.open("")
		if err := src.Write(t.Context(), []byte("one"), []byte("two")); err != nil {
			t.Fatal(err)
		}
		s.behind(1)
		s.faulty(func(w http.ResponseWriter, call string) bool {
			if call == "access 2" {
				refuse(w, 400, "FAILED_PRECONDITION", message)
			}
			return call == "access 2"
		})
		if got, err := src.Read(t.Context()); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: reads %q after it wrote two, want %q: %v", message, got, want, err)
		}
	}
}

// TestReadOfAnotherVersion: an answer with another version than the one that was asked
// for is none.
func TestReadOfAnotherVersion(t *testing.T) {
	s := serve(t, "one")
	src := s.open("")
	if err := src.Write(t.Context(), []byte("one"), []byte("two")); err != nil {
		t.Fatal(err)
	}
	s.behind(1)
	s.faulty(func(w http.ResponseWriter, call string) bool {
		if call == "access 2" {
			s.access(w, "1")
		}
		return call == "access 2"
	})
	got, err := src.Read(t.Context())
	check(t, string(got), err, "not one of Secret Manager's")
}

// TestWriteWhoseAnswerIsLostBehindAnother: somebody else was first, and was told so;
// theirs counts, though no number tells that ours came behind it.
func TestWriteWhoseAnswerIsLostBehindAnother(t *testing.T) {
	for _, others := range [][]version{
		{{data: []byte("of another")}},
		{{data: []byte("of another")}, {data: []byte("of a third"), state: "DISABLED"}},
	} {
		s := serve(t, "old")
		lost := false
		s.fault = func(_ http.ResponseWriter, call string) bool {
			if call != "addVersion" || lost {
				return false
			}
			lost = true
			s.versions = append(append(s.versions, others...), version{data: []byte("new")})
			panic(http.ErrAbortHandler)
		}
		err := s.open("").Write(t.Context(), []byte("old"), []byte("new"))
		if !errors.Is(err, keyring.ErrChanged) || s.current() != "of another" {
			t.Errorf("%d others: %v; the secret is %q", len(others), err, s.current())
		}
	}
}

// TestWriteThatIsNotThere: where ours has not come, nothing is added once more, and no
// version is looked for without end.
func TestWriteThatIsNotThere(t *testing.T) {
	s := serve(t, "old")
	s.fault = func(_ http.ResponseWriter, call string) bool {
		if call != "addVersion" {
			return false
		}
		s.versions = append(s.versions, slices.Repeat([]version{{data: []byte("of another")}}, 100)...)
		panic(http.ErrAbortHandler)
	}
	err := s.open("").Write(t.Context(), []byte("old"), []byte("new"))
	calls := s.called()
	if err == nil || errors.Is(err, keyring.ErrChanged) || s.current() != "of another" || strings.Count(strings.Join(calls, " "), "addVersion") != 1 || len(calls) > 30 {
		t.Errorf("%v; called %q", err, calls)
	}
}
