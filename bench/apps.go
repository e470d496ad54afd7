package main

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	scsmem "github.com/alexedwards/scs/v2/memstore"
	ginsessions "github.com/gin-contrib/sessions"
	ginmem "github.com/gin-contrib/sessions/memstore"
	"github.com/gin-gonic/gin"
	"github.com/gorilla/sessions"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

var (
	name   = cloakroom.NewKey[string]("name")
	theme  = cloakroom.NewKey[string]("theme")
	visits = cloakroom.NewKey[int]("visits")
)

// newManager returns a Manager as a program would have it, without log lines.
func newManager(st store.Store) (*cloakroom.Manager, error) {
	keys, err := keyring.New(keyring.Generate())
	if err != nil {
		return nil, err
	}
	return cloakroom.New(st, keys, &cloakroom.Options{Logger: slog.New(slog.DiscardHandler)})
}

// cloakroomApp is the program written with Cloakroom.
func cloakroomApp(st store.Store, next func() int) (app, error) {
	m, err := newManager(st)
	if err != nil {
		return app{}, err
	}
	handler := func(f func(w http.ResponseWriter, s *cloakroom.Session)) http.Handler {
		return m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f(w, cloakroom.FromContext(r.Context()))
		}))
	}
	return app{
		name: "cloakroom",
		fill: handler(func(w http.ResponseWriter, s *cloakroom.Session) {
			name.Set(s, visitorName)
			visits.Set(s, 0)
			theme.Set(s, visitorTheme)
			io.WriteString(w, body)
		}),
		read:  handler(func(w http.ResponseWriter, s *cloakroom.Session) { io.WriteString(w, theme.GetOr(s, "")) }),
		write: handler(func(w http.ResponseWriter, s *cloakroom.Session) { visits.Set(s, next()); io.WriteString(w, body) }),
		idle:  m.Handler(http.HandlerFunc(page)),
	}, nil
}

// newSCS returns a manager of scs with its defaults.
func newSCS(st scs.Store, idle time.Duration) *scs.SessionManager {
	m := scs.New()
	m.Store = st
	m.IdleTimeout = idle
	return m
}

// scsApp is the program written with alexedwards/scs.
func scsApp(m *scs.SessionManager, next func() int) app {
	handler := func(f func(w http.ResponseWriter, r *http.Request)) http.Handler {
		return m.LoadAndSave(http.HandlerFunc(f))
	}
	return app{
		name: "scs",
		fill: handler(func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "name", visitorName)
			m.Put(r.Context(), "visits", 0)
			m.Put(r.Context(), "theme", visitorTheme)
			io.WriteString(w, body)
		}),
		read: handler(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, m.GetString(r.Context(), "theme")) }),
		write: handler(func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "visits", next())
			io.WriteString(w, body)
		}),
		idle: m.LoadAndSave(http.HandlerFunc(page)),
	}
}

// gorillaApp is the program written with gorilla/sessions. It has no middleware:
// a handler that does not ask for the session pays nothing.
func gorillaApp(what string, st sessions.Store, next func() int) app {
	handler := func(f func(w http.ResponseWriter, s *sessions.Session) (save bool)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := st.Get(r, "session")
			if err == nil && f(w, s) {
				err = s.Save(r, w)
			}
			if err != nil {
				http.Error(w, "session", http.StatusInternalServerError)
				return
			}
			text, _ := s.Values["theme"].(string)
			io.WriteString(w, text)
		})
	}
	return app{
		name: what,
		fill: handler(func(_ http.ResponseWriter, s *sessions.Session) bool {
			s.Values["name"], s.Values["visits"], s.Values["theme"] = visitorName, 0, visitorTheme
			return true
		}),
		read:  handler(func(http.ResponseWriter, *sessions.Session) bool { return false }),
		write: handler(func(_ http.ResponseWriter, s *sessions.Session) bool { s.Values["visits"] = next(); return true }),
		idle:  http.HandlerFunc(page),
	}
}

// ginApp is the program written with gin-contrib/sessions. It carries the router
// of gin, without which it does not run.
func ginApp(st ginsessions.Store, next func() int) app {
	gin.SetMode(gin.ReleaseMode)
	handler := func(f func(c *gin.Context)) http.Handler {
		e := gin.New()
		e.Use(ginsessions.Sessions("session", st))
		e.Any("/", f)
		return e
	}
	save := func(c *gin.Context, s ginsessions.Session) {
		if err := s.Save(); err != nil {
			c.Status(http.StatusInternalServerError)
			return
		}
		io.WriteString(c.Writer, body)
	}
	return app{
		name: "gin-contrib",
		fill: handler(func(c *gin.Context) {
			s := ginsessions.Default(c)
			s.Set("name", visitorName)
			s.Set("visits", 0)
			s.Set("theme", visitorTheme)
			save(c, s)
		}),
		read: handler(func(c *gin.Context) {
			text, _ := ginsessions.Default(c).Get("theme").(string)
			io.WriteString(c.Writer, text)
		}),
		write: handler(func(c *gin.Context) {
			s := ginsessions.Default(c)
			s.Set("visits", next())
			save(c, s)
		}),
		idle: handler(func(c *gin.Context) { io.WriteString(c.Writer, body) }),
	}
}

// floorApp is a map and a lock, and a cookie that is a name in it: what no session
// library can do without.
func floorApp(next func() int) app {
	type session struct {
		name, theme string
		visits      int
	}
	var mu sync.Mutex
	all := map[string]session{}
	handler := func(f func(w http.ResponseWriter, token string, s session)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := r.Cookie("session")
			if err != nil {
				http.Error(w, "no cookie", http.StatusUnauthorized)
				return
			}
			mu.Lock()
			s, ok := all[c.Value]
			mu.Unlock()
			if !ok {
				http.Error(w, "no session", http.StatusUnauthorized)
				return
			}
			f(w, c.Value, s)
		})
	}
	return app{
		name: "a locked map",
		fill: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token := rand.Text()
			mu.Lock()
			all[token] = session{visitorName, visitorTheme, 0}
			mu.Unlock()
			http.SetCookie(w, &http.Cookie{Name: "session", Value: token, HttpOnly: true, Secure: true})
			io.WriteString(w, body)
		}),
		read: handler(func(w http.ResponseWriter, _ string, s session) { io.WriteString(w, s.theme) }),
		write: handler(func(w http.ResponseWriter, token string, s session) {
			s.visits = next()
			mu.Lock()
			all[token] = s
			mu.Unlock()
			io.WriteString(w, body)
		}),
		idle: http.HandlerFunc(page),
	}
}

// inMemory returns the programs with sessions in memory: the floor, Cloakroom, scs,
// and the others. That of scs is there a second time with its idle timeout on,
// which Cloakroom always has.
func inMemory() ([]app, error) {
	var c counter
	ours, err := cloakroomApp(memstore.New(nil), c.next)
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key)
	idle := scsApp(newSCS(scsmem.NewWithCleanupInterval(0), 30*time.Minute), c.next)
	idle.name = "scs, idle timeout"
	return []app{
		floorApp(c.next),
		ours,
		scsApp(newSCS(scsmem.NewWithCleanupInterval(0), 0), c.next),
		idle,
		gorillaApp("gorilla, cookie", sessions.NewCookieStore(key), c.next),
		gorillaApp("gorilla, memory", newGorillaMemory(key), c.next),
		ginApp(ginmem.NewStore(key), c.next),
	}, nil
}
