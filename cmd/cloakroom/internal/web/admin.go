package web

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/auditlog"
	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

// Administration is what the pages of administrators stand on. All fields are
// needed but Records and Audit.
type Administration struct {
	// Admin makes every change.
	Admin *admin.Admin

	// Accounts finds accounts.
	Accounts AdminAccounts

	// Throttle knows who is locked.
	Throttle AdminThrottle

	// Records counts the sessions; nil where they cannot be counted.
	Records *admin.Records

	// Audit is the audit log; nil for none.
	Audit AuditLog

	reads   turns // of what goes through much at once
	exports turns // which last as long as somebody takes them: a turn of reads would be gone as long
}

// AdminAccounts is how the administration finds accounts. Package sqlusers keeps it.
type AdminAccounts interface {
	Search(ctx context.Context, f sqlusers.Filter, after string, n int) ([]sqlusers.Account, error)
	Account(ctx context.Context, id string) (sqlusers.Account, error)
}

// AdminThrottle tells how an account stands. Package throttle keeps it.
type AdminThrottle interface {
	State(ctx context.Context, account string) (throttle.State, error)
}

// AuditLog is where the administration reads what has happened. Package auditlog keeps
// it.
type AuditLog interface {
	Find(ctx context.Context, q auditlog.Query) ([]auditlog.Entry, error)
	Each(ctx context.Context, q auditlog.Query) iter.Seq2[auditlog.Entry, error]
	Summary(ctx context.Context, since time.Time) (auditlog.Summary, error)
}

var (
	_ AuditLog      = (*auditlog.Log)(nil)
	_ AdminAccounts = (*sqlusers.Users)(nil)
	_ AdminThrottle = (*throttle.Throttle)(nil)
)

// adminRoutes are the addresses of the administration. All of them need the role of
// an administrator; what changes something needs a recent proof of identity beside it.
// There is none that takes another's password (ASVS 6.4.6).
func (s *Site) adminRoutes() map[string]methods {
	look := func(h http.HandlerFunc) http.Handler { return s.administer(h) }
	read := func(h http.HandlerFunc) http.Handler {
		return look(s.inTurn(func(a *Administration) *turns { return &a.reads }, h))
	}
	export := func(h http.HandlerFunc) http.Handler {
		return look(s.inTurn(func(a *Administration) *turns { return &a.exports }, h))
	}
	// Each change names the page on which its form stands.
	page := func(path string, h http.HandlerFunc) http.Handler {
		return s.administer(s.recent(func(*http.Request) string { return s.Prefix + path }, h))
	}
	user := func(h http.HandlerFunc) http.Handler {
		return s.administer(s.recent(func(r *http.Request) string { return s.userPage(r.PathValue("id")) }, h))
	}
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	at := s.Prefix + "/admin"
	one := at + "/users/{id}"
	return map[string]methods{
		at:                             {get: look(s.adminUsers)},
		at + "/users":                  {get: look(s.adminUsers), post: page("/admin/users", s.addUser)},
		one:                            {get: look(s.adminUser), del: user(s.changeUser("remove"))},
		one + "/invite":                {post: user(s.linkUser(sqlusers.LinkInvite))},
		one + "/reset":                 {post: user(s.linkUser(sqlusers.LinkReset))},
		one + "/disable":               {post: user(s.changeUser("disable"))},
		one + "/enable":                {post: user(s.changeUser("enable"))},
		one + "/unlock":                {post: user(s.changeUser("unlock"))},
		one + "/roles":                 {post: user(s.changeUser("roles"))},
		one + "/rename":                {post: user(s.changeUser("rename"))},
		one + "/require-change":        {post: user(s.changeUser("require-change"))},
		one + "/end-sessions":          {post: user(s.changeUser("end-sessions"))},
		one + "/remove":                {post: user(s.changeUser("remove"))},
		one + "/sessions":              {del: user(s.changeUser("end-sessions"))},
		one + "/sessions/{handle}":     {del: user(s.endUserSession)},
		one + "/sessions/{handle}/end": {post: user(s.endUserSession)},
		at + "/sessions":               {get: read(s.adminSessions), del: page("/admin/sessions", s.endEveryone)},
		at + "/sessions/end-all":       {post: page("/admin/sessions", s.endEveryone)},
		at + "/audit":                  {get: look(s.adminAudit)},
		at + "/audit/export.jsonl":     {get: export(s.exportJSONL)},
		at + "/audit/export.csv":       {get: export(s.exportCSV)},
		at + "/suspicious":             {get: read(s.adminSuspicious)},
	}
}

// administer lets administrators through, and nobody else.
func (s *Site) administer(next http.Handler) http.Handler {
	there := func(w http.ResponseWriter, r *http.Request) {
		if s.Administration == nil {
			s.fail(w, r, http.StatusNotFound, "")
			return
		}
		next.ServeHTTP(w, r)
	}
	return keep(s.inside(s.auth.RequireRole(sqlusers.Admin)(http.HandlerFunc(there))))
}

// recent asks for a recent proof of identity. A browser that posts a form is sent to
// give one, and from there to the page on which the form stands: the form is never
// sent again by anything but a person who sees what it does.
func (s *Site) recent(form func(*http.Request) string, next http.Handler) http.Handler {
	guarded := s.auth.RequireRecent(s.ReauthAfter)(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := s.auth.Decide(r.Context(), auth.Rule{Recent: s.ReauthAfter})
		if !errors.Is(d.Err, auth.ErrRecentAuth) || r.Method != http.MethodPost || answersJSON(r) {
			guarded.ServeHTTP(w, r)
			return
		}
		event.Log(r.Context(), s.Logger, slog.LevelWarn, event.AccessRefused, event.User(d.User.ID),
			event.Addr(s.manager.ClientAddr(r)), event.Session(cloakroom.FromContext(r.Context()).ID()), event.Reason("recent"))
		redirect(w, s.Prefix+"/reauth?next="+url.QueryEscape(form(r)))
	})
}

// adminView is what a page of the administration shows.
type adminView struct {
	view
	Tab     string // which of the administration's pages this is
	Problem string // why what was asked for was not done

	Confirming bool // the name of whom to remove was not repeated

	Users  *usersView
	Person *userView
	Link   *linkView
	Live   *liveView
	Log    *logView
}

// adminPage shows a page of the administration.
func (s *Site) adminPage(w http.ResponseWriter, r *http.Request, status int, name string, v *adminView) {
	v.Here = "admin"
	v.Flashes = append(v.Flashes, cloakroom.FromContext(r.Context()).Flashes()...)
	s.render(w, r, status, name, v)
}

// actor is who is signed in.
func (s *Site) actor(r *http.Request) admin.Actor {
	return admin.Actor{ID: cloakroom.FromContext(r.Context()).UserID(), Addr: s.manager.ClientAddr(r)}
}

// userPage is the address of the page about a user.
func (s *Site) userPage(id string) string { return s.Prefix + "/admin/users/" + url.PathEscape(id) }

// adminDone answers what has been done: with 204, or with the page at this address
// and a word about it.
func (s *Site) adminDone(w http.ResponseWriter, r *http.Request, to, said string) {
	if r.Method == http.MethodDelete || answersJSON(r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	cloakroom.FromContext(r.Context()).Flash(said)
	redirect(w, to)
}

// adminFault is a refusal that an administrator can do something about: what
// programs read of it, and people.
type adminFault struct {
	status       int
	detail, word string
}

// faultOf returns why a change was refused, and false for an error that says nothing
// about the change.
func faultOf(err error) (adminFault, bool) {
	bad, conflict := http.StatusBadRequest, http.StatusConflict
	for _, f := range []struct {
		err error
		adminFault
	}{
		{sqlusers.ErrLastAdmin, adminFault{conflict, "Last enabled administrator", text("admin.last")}},
		{sqlusers.ErrNameTaken, adminFault{conflict, "User name is taken", text("admin.taken")}},
		{sqlusers.ErrNameInvalid, adminFault{bad, "User name must have 1 to 256 bytes, no blanks and no control characters", text("admin.badname")}},
		{sqlusers.ErrRoleInvalid, adminFault{bad, "A role has 1 to 64 letters, digits and . _ - : /", text("admin.badrole")}},
		{admin.ErrHasPassword, adminFault{conflict, "The user has a password: make a reset link", text("admin.haspassword")}},
		{sqlusers.ErrDisabled, adminFault{conflict, "The account is disabled", text("admin.isdisabled")}},
		{errConfirm, adminFault{bad, "Field name must repeat the user's name", text("admin.confirm")}},
	} {
		if errors.Is(err, f.err) {
			return f.adminFault, true
		}
	}
	if m, ok := errors.AsType[malformed](err); ok {
		return adminFault{bad, string(m), text("admin.malformed")}, true
	}
	return adminFault{}, false
}

// errConfirm says that a name was not repeated where that asks for care.
var errConfirm = errors.New("web: the name was not repeated")

// adminRefuse answers a change that was not made. show shows the page of the form
// again, with the reason.
func (s *Site) adminRefuse(w http.ResponseWriter, r *http.Request, doing string, err error, show func(status int, word string)) {
	fault, ok := faultOf(err)
	switch {
	case errors.Is(err, auth.ErrNoUser):
		s.fail(w, r, http.StatusNotFound, "")
	case !ok:
		s.unavailable(w, r, doing, err)
	case !problem.WantsHTML(r):
		problem.Write(w, r, fault.status, fault.detail)
	default:
		show(fault.status, fault.word)
	}
}

// How long an administrator waits for a change: of one user, and of everybody.
const (
	patience     = 10 * time.Second
	longPatience = time.Minute
)

// slow is the context of a change. It goes on when the browser goes away, as half of
// it would be of no use.
func slow(r *http.Request, most time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), most)
}

// goneSelf answers an administrator who has ended their own session with the rest.
func (s *Site) goneSelf(w http.ResponseWriter, r *http.Request) {
	if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
		s.refuse(w, r, err)
		return
	}
	s.goodbye(w, r)
}

// left notes records that could not be ended: nobody lets them in, so that nothing is
// wrong but the list.
func (s *Site) left(r *http.Request, ended admin.Ended) {
	if ended.Left != nil {
		event.Log(r.Context(), s.Logger, slog.LevelWarn, event.StoreFailed, slog.String("op", "end sessions"), event.Err(ended.Left))
	}
}
