package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// sessionsOfUser is how many sessions of a user are shown. All of them can be ended.
const sessionsOfUser = 100

// userView is the page about a user.
type userView struct {
	userItem
	Self     bool // it is who looks at it
	At       string
	Failures int       // wrong passwords in a row
	Until    time.Time // no password is looked at before; zero for none
	Sessions []sessionItem
	More     int  // sessions that are not shown
	Unlisted bool // the sessions cannot be listed
	IsAdmin  bool

	NewName, NewRoles string // of the forms
	Invites, Resets   string // how long links live
	Entries           []logItem
	LogAddress        string
}

// adminUser shows a user.
func (s *Site) adminUser(w http.ResponseWriter, r *http.Request) {
	s.showUser(w, r, http.StatusOK, "", nil)
}

// showUser shows the user of the address: with a form's fields, and the reason why
// they were refused, where there are any.
func (s *Site) showUser(w http.ResponseWriter, r *http.Request, status int, problemWord string, f fields) {
	ctx, cancel := s.bounded(r)
	defer cancel()
	id := r.PathValue("id")
	a, err := s.Administration.Accounts.Account(ctx, id)
	if errors.Is(err, auth.ErrNoUser) {
		s.fail(w, r, http.StatusNotFound, "")
		return
	}
	if err != nil {
		s.unavailable(w, r, "find a user", err)
		return
	}
	st, err := s.Administration.Throttle.State(ctx, id)
	if err != nil {
		s.unavailable(w, r, "look at the throttle", err)
		return
	}
	infos, err := s.listOf(r.Context(), id)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	more := max(len(infos)-sessionsOfUser, 0)
	infos = infos[:len(infos)-more]
	at := cloakroom.FromContext(r.Context())
	u := &userView{
		userItem: itemOf(a, st.Locked), Self: id == at.UserID(), At: s.userPage(id), Failures: st.Failures,
		Unlisted: s.Unlisted, Sessions: sessionItems(infos, at), More: more, IsAdmin: slices.Contains(a.Roles, sqlusers.Admin),
		NewName: a.Name, NewRoles: plainRoles(a.Roles), Invites: words(admin.InviteAge), Resets: words(admin.ResetAge),
	}
	if time.Now().Before(st.Until) {
		u.Until = st.Until
	}
	if !problem.WantsHTML(r) {
		s.writeUser(w, status, u)
		return
	}
	if name, ok := f["name"]; ok && len(name) <= auth.MaxName {
		u.NewName = name
	}
	if roles, ok := f["roles"]; ok {
		u.NewRoles, u.IsAdmin = roles, f["admin"] != ""
	}
	u.Entries, u.LogAddress = s.lastEntries(r, id)
	v := &adminView{Tab: "users", Problem: problemWord, Person: u, Confirming: problemWord == text("admin.confirm")}
	v.Title = a.Name
	s.adminPage(w, r, status, "admin-user", v)
}

func (s *Site) writeUser(w http.ResponseWriter, status int, u *userView) {
	var until *time.Time
	if !u.Until.IsZero() {
		until = &u.Until
	}
	writeJSON(w, status, map[string]any{
		"user": struct {
			userItem
			Failures int        `json:"failures"`
			Until    *time.Time `json:"throttled_until"`
		}{u.userItem, u.Failures, until},
		"sessions": u.Sessions, "more_sessions": u.More,
	})
}

// sessionItems are the sessions of a user as a list shows them.
func sessionItems(infos []cloakroom.Info, at *cloakroom.Session) []sessionItem {
	items := make([]sessionItem, len(infos))
	for i, info := range infos {
		items[i] = sessionItem{
			Handle: info.ID.Handle(), Device: Device(info.Device), Address: info.Address,
			Method: info.Method, Created: info.Created, LastSeen: info.Seen, Current: info.ID == at.ID(),
		}
	}
	return items
}

// listOf returns the sessions of a user: none where they cannot be listed.
func (s *Site) listOf(ctx context.Context, id string) ([]cloakroom.Info, error) {
	if s.Unlisted {
		return nil, nil
	}
	return s.manager.List(ctx, id)
}

// userChange is something that can be done to a user by one press of a button.
type userChange struct {
	known []string // fields that the form has
	ends  bool     // the sessions of the user
	do    func(ctx context.Context, a *Administration, by admin.Actor, id string, f fields) (admin.Ended, error)
}

// userChanges are by the last part of their address. What was done is said in the
// text "done." and that part.
var userChanges = map[string]userChange{
	"disable": {ends: true, do: func(ctx context.Context, a *Administration, by admin.Actor, id string, _ fields) (admin.Ended, error) {
		return a.Admin.Disable(ctx, by, id)
	}},
	"enable": {do: func(ctx context.Context, a *Administration, by admin.Actor, id string, _ fields) (admin.Ended, error) {
		return admin.Ended{}, a.Admin.Enable(ctx, by, id)
	}},
	"unlock": {do: func(ctx context.Context, a *Administration, by admin.Actor, id string, _ fields) (admin.Ended, error) {
		return admin.Ended{}, a.Admin.Unlock(ctx, by, id)
	}},
	"roles": {known: []string{"roles", "admin"}, do: func(ctx context.Context, a *Administration, by admin.Actor, id string, f fields) (admin.Ended, error) {
		if _, ok := f["roles"]; !ok {
			return admin.Ended{}, errRoles // none are an empty list
		}
		return admin.Ended{}, a.Admin.SetRoles(ctx, by, id, f.roles())
	}},
	"rename": {known: []string{"name"}, do: func(ctx context.Context, a *Administration, by admin.Actor, id string, f fields) (admin.Ended, error) {
		return admin.Ended{}, a.Admin.Rename(ctx, by, id, f["name"])
	}},
	"require-change": {ends: true, do: func(ctx context.Context, a *Administration, by admin.Actor, id string, _ fields) (admin.Ended, error) {
		return a.Admin.RequireChange(ctx, by, id)
	}},
	"end-sessions": {ends: true, do: func(ctx context.Context, a *Administration, by admin.Actor, id string, _ fields) (admin.Ended, error) {
		return a.Admin.EndSessions(ctx, by, id)
	}},
	"remove": {known: []string{"name"}, ends: true, do: func(ctx context.Context, a *Administration, by admin.Actor, id string, f fields) (admin.Ended, error) {
		return a.Admin.Remove(ctx, by, id)
	}},
}

// changeUser makes a change.
func (s *Site) changeUser(name string) http.HandlerFunc {
	c := userChanges[name]
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := slow(r, patience)
		defer cancel()
		id, by := r.PathValue("id"), s.actor(r)
		f, err := adminForm(r, c.known...)
		if err == nil && name == "remove" && r.Method == http.MethodPost {
			err = s.repeated(ctx, id, f["name"])
		}
		var ended admin.Ended
		if err == nil {
			ended, err = c.do(ctx, s.Administration, by, id, f)
		}
		if err != nil {
			if name == "remove" {
				f = nil // what was typed there is no new name
			}
			s.adminRefuse(w, r, name+" a user", err, func(status int, word string) { s.showUser(w, r, status, word, f) })
			return
		}
		s.left(r, ended)
		to := s.userPage(id)
		switch {
		case c.ends && id == by.ID:
			s.goneSelf(w, r)
			return
		case name == "remove":
			to = s.Prefix + "/admin/users"
		case name == "roles" && id == by.ID && !slices.Contains(f.roles(), sqlusers.Admin):
			to = s.Prefix + "/profile" // they may not look at it any more
		}
		s.adminDone(w, r, to, text("done."+name))
	}
}

// repeated asks for the name of the user, in any spelling, from whoever would remove
// one by a form: there is no way back.
func (s *Site) repeated(ctx context.Context, id, name string) error {
	a, err := s.Administration.Accounts.Account(ctx, id)
	if err != nil {
		return err
	}
	if canonical, err := auth.CanonicalName(name); err != nil || canonical != a.Canonical {
		return errConfirm
	}
	return nil
}

// endUserSession ends one session of a user. A session of somebody else is not there,
// and neither is one of a user who is none.
func (s *Site) endUserSession(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := slow(r, patience)
	defer cancel()
	id, handle := r.PathValue("id"), r.PathValue("handle")
	if _, err := adminForm(r); err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return
	}
	infos, err := s.listOf(ctx, id)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	i := slices.IndexFunc(infos, func(i cloakroom.Info) bool { return i.ID.Handle() == handle })
	if i < 0 {
		s.fail(w, r, http.StatusNotFound, "")
		return
	}
	if err := s.manager.End(ctx, infos[i].ID); err != nil {
		s.refuse(w, r, err)
		return
	}
	s.Administration.Admin.EndedOne(ctx, s.actor(r), id, handle)
	if infos[i].ID == cloakroom.FromContext(r.Context()).ID() {
		s.goneSelf(w, r)
		return
	}
	s.adminDone(w, r, s.userPage(id), text("sessions.ended"))
}

// log notes that something did not work which leaves the answer as it is.
func (s *Site) log(r *http.Request, doing string, err error) {
	event.Log(r.Context(), s.Logger, slog.LevelError, event.UsersFailed, slog.String("op", doing), event.Err(err))
}
