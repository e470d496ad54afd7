package promises_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/store"
)

// counter is the one value that requests change with Update.
var counter = cloakroom.NewKey[int]("counter")

// contents is what GET /read tells about a session.
type contents struct {
	User   string            `json:"user"`
	Count  int               `json:"count"`
	Values map[string]string `json:"values"`
}

// The application's own header, which no refusal may carry.
const pageHeader = "X-Page"

// app is the application under test. Each route sets a header before it touches
// the session and writes a body after, as careless handlers do: where the commit
// fails, neither may arrive.
//
// A route that needs a session asks for it as a guard would; with the query
// "open" it takes strangers as well. With "slow" it stands still when it has made
// its changes and not yet written anything.
func app(m *cloakroom.Manager) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(w http.ResponseWriter, r *http.Request, s *cloakroom.Session) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(pageHeader, r.URL.Path)
			s := m.FromContext(r.Context())
			if err := f(w, r, s); err != nil {
				refuse(w, r, err)
				return
			}
			stand(r)
			if r.URL.Query().Has("empty") {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			io.WriteString(w, "page of "+r.URL.Path)
		})
	}
	mux.HandleFunc("GET /read", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(pageHeader, r.URL.Path)
		c := read(m.FromContext(r.Context()))
		stand(r)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(c)
	})
	handle("GET /me", guarded(func(*http.Request, *cloakroom.Session) error { return nil }))
	handle("/set", guarded(func(r *http.Request, s *cloakroom.Session) error {
		cloakroom.NewKey[string](r.FormValue("name")).Set(s, r.FormValue("value"))
		return nil
	}))
	handle("POST /update", guarded(func(_ *http.Request, s *cloakroom.Session) error {
		counter.Update(s, func(n int) int { return n + 1 })
		return nil
	}))
	handle("POST /renew", guarded(func(_ *http.Request, s *cloakroom.Session) error {
		s.Renew()
		return nil
	}))
	handle("POST /roles", guarded(func(r *http.Request, s *cloakroom.Session) error {
		s.SetRoles([]string{r.FormValue("role")})
		return nil
	}))
	handle("POST /login", func(_ http.ResponseWriter, r *http.Request, s *cloakroom.Session) error {
		s.Login(cloakroom.Identity{UserID: r.FormValue("user"), Method: "password"})
		if name := r.FormValue("name"); name != "" {
			cloakroom.NewKey[string](name).Set(s, r.FormValue("value"))
		}
		return nil
	})
	handle("POST /logout", func(_ http.ResponseWriter, r *http.Request, s *cloakroom.Session) error {
		return s.End(r.Context())
	})
	handle("GET /list", guarded(func(r *http.Request, s *cloakroom.Session) error {
		_, err := m.List(r.Context(), s.UserID())
		return err
	}))
	handle("POST /steps", func(_ http.ResponseWriter, r *http.Request, s *cloakroom.Session) error {
		for i, step := range strings.Split(r.FormValue("do"), ",") {
			if err := do(r, s, i, step); err != nil {
				return err
			}
		}
		return nil
	})
	mux.HandleFunc("GET /public", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page for all") })
	mux.HandleFunc("POST /admin/end", func(w http.ResponseWriter, r *http.Request) {
		id, err := store.ParseID(r.FormValue("id"))
		if err == nil {
			err = m.End(r.Context(), id)
		}
		answerAdmin(w, r, err)
	})
	mux.HandleFunc("POST /admin/enduser", func(w http.ResponseWriter, r *http.Request) {
		_, err := m.EndUser(r.Context(), r.FormValue("user"), store.ID{})
		answerAdmin(w, r, err)
	})
	return m.Handler(mux)
}

// do is one step of a handler that does several things, some of them for good
// before the header leaves. "try" commits and goes on whatever comes of it.
func do(r *http.Request, s *cloakroom.Session, i int, step string) error {
	switch step {
	case "set":
		cloakroom.NewKey[int]("step").Set(s, i)
	case "login":
		s.Login(cloakroom.Identity{UserID: r.FormValue("user")})
	case "renew":
		s.Renew()
	case "end":
		return s.End(r.Context())
	case "commit":
		return s.Commit(r.Context())
	case "try":
		_ = s.Commit(r.Context())
	case "stand":
		stand(r)
	case "panic":
		panic(http.ErrAbortHandler)
	}
	return nil
}

func answerAdmin(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		refuse(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

var errNobody = errors.New("nobody is there")

// guarded lets nobody through who has no stored session, as a guard does.
func guarded(f func(*http.Request, *cloakroom.Session) error) func(http.ResponseWriter, *http.Request, *cloakroom.Session) error {
	return func(_ http.ResponseWriter, r *http.Request, s *cloakroom.Session) error {
		if s.New() && !r.URL.Query().Has("open") {
			if s.Late() {
				return cloakroom.ErrRenewed
			}
			return errNobody
		}
		return f(r, s)
	}
}

// refuse answers what went wrong without anything of the page.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Del(pageHeader)
	if errors.Is(err, errNobody) {
		problem.Write(w, r, http.StatusUnauthorized, problem.NotAuthenticated)
		return
	}
	cloakroom.WriteError(w, r, err)
}

// read says what is in the session.
func read(s *cloakroom.Session) contents {
	c := contents{User: s.UserID(), Values: map[string]string{}}
	for _, name := range s.Names() {
		if name == counter.Name() {
			c.Count, _ = counter.Get(s)
			continue
		}
		c.Values[name], _ = cloakroom.NewKey[string](name).Get(s)
	}
	return c
}

// stand stops a slow handler until the test lets it go on.
func stand(r *http.Request) {
	if tr := traceOf(r.Context()); tr != nil && tr.gate != nil && r.FormValue("slow") != "" {
		tr.gate(&call{by: tr, op: opHandler})
	}
}

// withTrace puts the trace that a request names into its context.
func withTrace(traces func(name string) *trace, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get("X-Trace"); name != "" {
			tr := traces(name)
			if tr == nil {
				panic(fmt.Sprintf("no trace %q", name))
			}
			tr.ctx = r.Context()
			defer close(tr.over)
			r = r.WithContext(context.WithValue(r.Context(), traceKey{}, tr))
		}
		next.ServeHTTP(w, r)
	})
}
