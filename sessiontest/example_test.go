package sessiontest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/sessiontest"
)

var visits = cloakroom.NewKey[int]("visits")

// greet is the handler under test.
func greet(w http.ResponseWriter, r *http.Request) {
	s := cloakroom.FromContext(r.Context())
	n := visits.Update(s, func(n int) int { return n + 1 })
	fmt.Fprintf(w, "%s, visit %d", s.UserID(), n)
}

func Example() {
	t := new(testing.T) // a test has its own

	m := sessiontest.New(t, nil)
	r := sessiontest.Request(t, m, httptest.NewRequest("GET", "/", nil), func(s *cloakroom.Session) {
		s.Login(cloakroom.Identity{UserID: "u1"})
		visits.Set(s, 41)
	})
	w := httptest.NewRecorder()
	m.Handler(http.HandlerFunc(greet)).ServeHTTP(w, r)

	fmt.Println(w.Body)
	fmt.Println(visits.Get(sessiontest.Session(t, m, r, w.Result())))
	// Output:
	// u1, visit 42
	// 42 true
}
