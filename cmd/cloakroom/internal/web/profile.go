package web

import (
	"net/http"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// sessionDoc is the answer of GET /session.
type sessionDoc struct {
	User    userDoc `json:"user"`
	Session struct {
		Created  time.Time `json:"created"`
		Expires  time.Time `json:"expires"`
		AuthTime time.Time `json:"auth_time"`
	} `json:"session"`
	CSRFToken string `json:"csrf_token"`
}

// session tells programs who is signed in.
func (s *Site) session(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	u, _ := auth.UserFrom(ctx)
	at := cloakroom.FromContext(ctx)
	doc := sessionDoc{User: document(u), CSRFToken: csrf.Token(ctx)}
	doc.Session.Created, doc.Session.Expires, doc.Session.AuthTime = at.Created(), at.Expires(), at.AuthTime()
	writeJSON(w, http.StatusOK, doc)
}

// profile shows who is signed in.
func (s *Site) profile(w http.ResponseWriter, r *http.Request) {
	if !problem.WantsHTML(r) {
		s.session(w, r)
		return
	}
	at := cloakroom.FromContext(r.Context())
	s.render(w, r, http.StatusOK, "profile", &view{
		Title: text("profile.title"), Here: "profile", Flashes: at.Flashes(),
		Since: at.Created(), Proof: at.AuthTime(), Until: at.Deadline(), Idle: words(s.Session.IdleTimeout),
	})
}

// words writes a duration for people: "30 minutes", not "30m0s".
func words(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return plural(int(d/time.Hour), "hour")
	case d%time.Minute == 0:
		return plural(int(d/time.Minute), "minute")
	}
	return d.Round(time.Second).String()
}
