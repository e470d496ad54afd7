package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// mostCounted bounds the work of counting sessions: a page is not worth reading a
// store of millions.
const mostCounted = 10_000

// liveView is the page of all sessions.
type liveView struct {
	Count   int
	More    bool // than were counted
	Counted bool
}

// adminSessions tells how many sessions there are.
func (s *Site) adminSessions(w http.ResponseWriter, r *http.Request) {
	live, err := s.countSessions(r)
	if err != nil {
		s.unavailable(w, r, "count sessions", err)
		return
	}
	if !problem.WantsHTML(r) {
		doc := map[string]any{"live": nil, "more": false}
		if live.Counted {
			doc = map[string]any{"live": live.Count, "more": live.More}
		}
		writeJSON(w, http.StatusOK, doc)
		return
	}
	v := &adminView{Tab: "sessions", Live: live}
	v.Title = text("live.title")
	s.adminPage(w, r, http.StatusOK, "admin-sessions", v)
}

func (s *Site) countSessions(r *http.Request) (*liveView, error) {
	if s.Unlisted || s.Administration.Records == nil {
		return &liveView{}, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	n, more, err := s.Administration.Records.Count(ctx, mostCounted)
	if errors.Is(err, admin.ErrUncounted) {
		return &liveView{}, nil
	}
	return &liveView{Count: n, More: more, Counted: true}, err
}

// endEveryone signs everybody out, whoever asks for it included (ASVS 7.4.5).
func (s *Site) endEveryone(w http.ResponseWriter, r *http.Request) {
	if _, err := adminForm(r); err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := slow(r, longPatience)
	defer cancel()
	ended, err := s.Administration.Admin.EndEveryone(ctx, s.actor(r))
	if err != nil {
		s.unavailable(w, r, "end all sessions", err)
		return
	}
	s.left(r, ended)
	s.goneSelf(w, r)
}
