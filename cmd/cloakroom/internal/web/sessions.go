package web

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mileusna/useragent"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// sessionItem is a session in a list, for programs and pages alike.
type sessionItem struct {
	Handle   string    `json:"handle"`
	Device   string    `json:"device"`
	Address  string    `json:"address"`
	Method   string    `json:"method"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen"`
	Current  bool      `json:"current"`
}

// Number is four digits that people can tell sessions apart by: the same as long as
// the session keeps its token, and nothing follows from it.
func (i sessionItem) Number() string {
	h := fnv.New32a()
	h.Write([]byte(i.Handle))
	return fmt.Sprintf("%04d", h.Sum32()%10000)
}

// sessions lists where the user is signed in.
func (s *Site) sessions(w http.ResponseWriter, r *http.Request) {
	at := cloakroom.FromContext(r.Context())
	infos, err := s.list(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	items := make([]sessionItem, len(infos))
	for i, info := range infos {
		items[i] = sessionItem{
			Handle: info.ID.Handle(), Device: Device(info.Device), Address: info.Address,
			Method: info.Method, Created: info.Created, LastSeen: info.Seen, Current: info.ID == at.ID(),
		}
	}
	slices.SortStableFunc(items, func(a, b sessionItem) int { // this device first
		return cmp.Compare(rank(a), rank(b))
	})
	if !problem.WantsHTML(r) {
		writeJSON(w, http.StatusOK, map[string][]sessionItem{"sessions": items})
		return
	}
	s.render(w, r, http.StatusOK, "sessions", &view{
		Title: text("sessions.title"), Here: "sessions", Flashes: at.Flashes(), Sessions: items, Unlisted: s.Unlisted,
		Recent: words(s.ReauthAfter),
	})
}

// list returns the sessions of who asks; where they cannot be listed, the one that
// they ask with.
func (s *Site) list(r *http.Request) ([]cloakroom.Info, error) {
	at := cloakroom.FromContext(r.Context())
	if !s.Unlisted {
		return s.manager.List(r.Context(), at.UserID())
	}
	return []cloakroom.Info{{
		ID: at.ID(), Device: r.UserAgent(), Address: s.manager.ClientAddr(r), Method: at.Identity().Method,
		Created: at.Created(), Seen: time.Now().UTC().Truncate(time.Second), Expires: at.Expires(),
	}}, nil
}

func rank(i sessionItem) int {
	if i.Current {
		return 0
	}
	return 1
}

// confirmed asks for a recent proof of identity, from where a browser comes back to
// the list.
func (s *Site) confirmed(h http.HandlerFunc) http.HandlerFunc {
	return s.recent(func(*http.Request) string { return s.Prefix + "/sessions" }, h).ServeHTTP
}

// endSession ends one of the user's own sessions; anybody else's is not there. This
// very one needs no proof: signing out never does.
func (s *Site) endSession(w http.ResponseWriter, r *http.Request) {
	at := cloakroom.FromContext(r.Context())
	infos, err := s.list(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	for _, info := range infos {
		switch {
		case info.ID.Handle() != r.PathValue("handle"):
			continue
		case info.ID == at.ID():
			s.logout(w, r)
			return
		}
		s.confirmed(func(w http.ResponseWriter, r *http.Request) {
			if err := s.manager.End(r.Context(), info.ID); err != nil {
				s.refuse(w, r, err)
				return
			}
			s.done(w, r, text("sessions.ended"))
		})(w, r)
		return
	}
	s.fail(w, r, http.StatusNotFound, "")
}

// endOthers ends all of the user's sessions but this one.
func (s *Site) endOthers(w http.ResponseWriter, r *http.Request) {
	if s.Unlisted {
		s.endUnlisted(w, r)
		return
	}
	at := cloakroom.FromContext(r.Context())
	n, err := at.EndOthers(r.Context())
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	switch n {
	case 0:
		s.done(w, r, text("sessions.ended0"))
	case 1:
		s.done(w, r, text("sessions.ended1"))
	default:
		s.done(w, r, text("sessions.endedn", n))
	}
}

// endAll ends every session of the user, this one too. What counts is the epoch: no
// guard lets a session through that was signed in before.
func (s *Site) endAll(w http.ResponseWriter, r *http.Request) {
	at := cloakroom.FromContext(r.Context())
	ctx, cancel := s.bounded(r)
	defer cancel()
	if err := s.Accounts.RaiseEpoch(ctx, at.UserID()); err != nil {
		s.unavailable(w, r, "raise the epoch", err)
		return
	}
	if !s.Unlisted {
		_, _ = s.manager.EndUser(r.Context(), at.UserID(), at.ID()) // tidies up, and logs
	}
	s.logout(w, r)
}

// endUnlisted ends all of the user's sessions but this one where nobody can list
// them: by an epoch that this one alone takes.
func (s *Site) endUnlisted(w http.ResponseWriter, r *http.Request) {
	at := cloakroom.FromContext(r.Context())
	epoch := at.Identity().Epoch
	ctx, cancel := s.bounded(r)
	defer cancel()
	raised, err := s.Accounts.RaiseEpochFrom(ctx, at.UserID(), epoch)
	switch {
	case err != nil:
		s.unavailable(w, r, "raise the epoch", err)
	case !raised: // somebody else has, and meant this session as well
		s.refuse(w, r, cloakroom.ErrEnded)
	default:
		at.SetEpoch(epoch + 1)
		u, _ := auth.UserFrom(r.Context())
		s.auth.KnowDevice(w, r, u)
		s.done(w, r, text("sessions.endedall"))
	}
}

// done answers what has been done: with 204, or with the list and a word about
// it.
func (s *Site) done(w http.ResponseWriter, r *http.Request, said string) {
	if r.Method == http.MethodDelete || answersJSON(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	cloakroom.FromContext(r.Context()).Flash(said)
	redirect(w, s.Prefix+"/sessions")
}

// Device says in words what called itself by this User-Agent, as "Firefox on
// Linux". It is a hint for people, who know which devices they have: anything
// can call itself anything.
func Device(agent string) string {
	ua := useragent.Parse(agent)
	name, system := plain(ua.Name), plain(ua.OS)
	switch {
	case name == "" && system == "":
		return "Unknown device"
	case name == "" || system == "":
		return cmp.Or(name, system)
	}
	return fmt.Sprintf("%s on %s", name, system)
}

// plain keeps what a person can read of a name, up to 40 characters.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), 40)])
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
