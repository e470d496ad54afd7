package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/auth/sqlusers"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/admin"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// How many users stand on a page.
const (
	usersPage    = 50
	maxUsersPage = 200
)

// userItem is a user as administrators see one, in programs and pages alike.
type userItem struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Roles       []string  `json:"roles"`
	Disabled    bool      `json:"disabled"`
	Locked      bool      `json:"locked"`
	MustChange  bool      `json:"must_change"`
	HasPassword bool      `json:"has_password"`
	Link        *linkItem `json:"link"` // that waits to be used; null for none
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// linkItem is a link that waits to be used. It does not say which one it is.
type linkItem struct {
	Kind    string    `json:"kind"`
	Expires time.Time `json:"expires"`
}

// Invited tells whether the user is still to come by a link.
func (u userItem) Invited() bool { return !u.HasPassword && u.Link != nil }

// Well tells whether nothing about the account needs a word.
func (u userItem) Well() bool { return !u.Disabled && !u.Locked && !u.MustChange && u.HasPassword }

func itemOf(a sqlusers.Account, locked bool) userItem {
	i := userItem{
		ID: a.ID, Name: a.Name, Roles: append([]string{}, a.Roles...), Disabled: a.Disabled, Locked: locked,
		MustChange: a.MustChange, HasPassword: a.HasPassword, Created: a.Created, Updated: a.Updated,
	}
	if a.Link != "" && time.Now().Before(a.LinkUntil) {
		i.Link = &linkItem{string(a.Link), a.LinkUntil}
	}
	return i
}

// usersView is the page of users.
type usersView struct {
	Items       []userItem
	Query, Role string
	State       string
	First, Next string // addresses; "" for none
	Filtered    bool
	NewName     string // of the form that adds one
	NewRoles    string
	NewAdmin    bool
	InviteLasts string
}

// userStates are what users can be filtered by.
var userStates = map[string]func(*sqlusers.Filter){
	"":            func(*sqlusers.Filter) {},
	"enabled":     func(f *sqlusers.Filter) { f.Enabled = true },
	"disabled":    func(f *sqlusers.Filter) { f.Disabled = true },
	"must_change": func(f *sqlusers.Filter) { f.MustChange = true },
	"no_password": func(f *sqlusers.Filter) { f.NoPassword = true },
}

const (
	errState = malformed("Parameter state must be enabled, disabled, must_change or no_password")
	errLimit = malformed("Parameter limit must be a number from 1 to 200")
)

// usersQuery is what users are asked for.
type usersQuery struct {
	filter sqlusers.Filter
	after  string
	limit  int
}

func parseUsersQuery(q url.Values) (usersQuery, error) {
	uq := usersQuery{sqlusers.Filter{Text: q.Get("q"), Role: strings.TrimSpace(q.Get("role"))}, q.Get("after"), usersPage}
	set, ok := userStates[q.Get("state")]
	if !ok {
		return uq, errState
	}
	set(&uq.filter)
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxUsersPage {
			return uq, errLimit
		}
		uq.limit = n
	}
	return uq, nil
}

// adminUsers lists users, a page at a time: each page begins behind the last name of
// the one before, so that the last costs no more than the first.
func (s *Site) adminUsers(w http.ResponseWriter, r *http.Request) {
	s.showUsers(w, r, http.StatusOK, &adminView{Users: &usersView{}})
}

func (s *Site) showUsers(w http.ResponseWriter, r *http.Request, status int, v *adminView) {
	query, err := parseUsersQuery(r.URL.Query())
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return
	}
	// Not bounded as a guard's look at one account is: a part of a name is looked for in
	// all of them.
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	items, next, err := s.findUsers(ctx, query)
	if errors.Is(err, errNoTurn) {
		s.busy(w, r)
		return
	}
	if err != nil {
		s.unavailable(w, r, "search users", err)
		return
	}
	if !problem.WantsHTML(r) {
		writeJSON(w, status, struct {
			Users []userItem `json:"users"`
			Next  string     `json:"next,omitempty"`
		}{items, next})
		return
	}
	q := r.URL.Query()
	u := v.Users
	u.Items, u.Query, u.Role, u.State = items, q.Get("q"), query.filter.Role, q.Get("state")
	u.Filtered = u.Query != "" || u.Role != "" || u.State != ""
	u.InviteLasts = words(admin.InviteAge)
	if query.after != "" {
		u.First = s.usersAddress(q, "")
	}
	if next != "" {
		u.Next = s.usersAddress(q, next)
	}
	v.Title, v.Tab = text("users.title"), "users"
	s.adminPage(w, r, status, "admin-users", v)
}

// findUsers returns a page of users, and behind whom the next one begins: "" at the
// end.
func (s *Site) findUsers(ctx context.Context, q usersQuery) ([]userItem, string, error) {
	accounts, err := s.searchUsers(ctx, q)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(accounts) > q.limit {
		accounts = accounts[:q.limit]
		next = accounts[q.limit-1].Canonical
	}
	items := make([]userItem, len(accounts))
	for i, a := range accounts {
		st, err := s.Administration.Throttle.State(ctx, a.ID)
		if err != nil {
			return nil, "", err
		}
		items[i] = itemOf(a, st.Locked)
	}
	return items, next, nil
}

// searchUsers returns the accounts of a page, and one more if there is another. What is
// filtered may go through all accounts, and waits for its turn.
func (s *Site) searchUsers(ctx context.Context, q usersQuery) ([]sqlusers.Account, error) {
	if q.filter != (sqlusers.Filter{}) {
		giveBack, err := s.Administration.reads.take(ctx)
		if err != nil {
			return nil, err
		}
		defer giveBack()
	}
	return s.Administration.Accounts.Search(ctx, q.filter, q.after, q.limit+1)
}

// usersAddress is the address of the page behind a name, of the same search.
func (s *Site) usersAddress(q url.Values, after string) string {
	to := make(url.Values)
	for _, name := range []string{"q", "state", "role", "limit"} {
		if value := q.Get(name); value != "" {
			to.Set(name, value)
		}
	}
	if after != "" {
		to.Set("after", after)
	}
	if len(to) == 0 {
		return s.Prefix + "/admin/users"
	}
	return s.Prefix + "/admin/users?" + to.Encode()
}

// addUser makes an account and a link by which its user chooses a password: nobody
// else ever knows one (ASVS 6.4.1, 6.4.6).
func (s *Site) addUser(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := slow(r, patience)
	defer cancel()
	by := s.actor(r)
	f, err := adminForm(r, "name", "roles", "admin")
	var u auth.User
	if err == nil {
		u, err = s.Administration.Admin.Add(ctx, by, sqlusers.NewUser{Name: f["name"], Roles: f.roles()})
	}
	if err != nil {
		s.adminRefuse(w, r, "add a user", err, func(status int, word string) {
			v := &adminView{Problem: word, Users: &usersView{NewName: f["name"], NewRoles: f["roles"], NewAdmin: f["admin"] != ""}}
			s.showUsers(w, r, status, v)
		})
		return
	}
	link, err := s.Administration.Admin.Invite(ctx, by, u.ID)
	switch {
	case err != nil:
		s.log(r, "make an invite link", err)
		if answersJSON(r) { // the user is there: another link can be made
			writeJSON(w, http.StatusCreated, map[string]any{"user": document(u), "invite": nil})
			return
		}
		s.adminDone(w, r, s.userPage(u.ID), text("user.nolink"))
	case answersJSON(r):
		writeJSON(w, http.StatusCreated, map[string]any{"user": document(u), "invite": linkDoc{link.URL, link.Until}})
	default:
		s.showLink(w, r, u, sqlusers.LinkInvite, link)
	}
}

// linkDoc is a link that was just made.
type linkDoc struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// linkView is the page that shows a link, once.
type linkView struct {
	Kind, URL, Lasts string
	Until            time.Time
	Name, Back       string
}

func (s *Site) showLink(w http.ResponseWriter, r *http.Request, u auth.User, kind sqlusers.LinkKind, link admin.Link) {
	lasts := admin.InviteAge
	if kind == sqlusers.LinkReset {
		lasts = admin.ResetAge
	}
	v := &adminView{Tab: "users", Link: &linkView{
		Kind: string(kind), URL: link.URL, Until: link.Until, Lasts: words(lasts), Name: u.Name, Back: s.userPage(u.ID),
	}}
	v.Title = text("hand." + string(kind) + ".title")
	s.adminPage(w, r, http.StatusCreated, "admin-link", v)
}

// linkUser makes a link by which a user chooses a password.
func (s *Site) linkUser(kind sqlusers.LinkKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := slow(r, patience)
		defer cancel()
		id := r.PathValue("id")
		make := s.Administration.Admin.Reset
		if kind == sqlusers.LinkInvite {
			make = s.Administration.Admin.Invite
		}
		_, err := adminForm(r)
		var link admin.Link
		if err == nil {
			link, err = make(ctx, s.actor(r), id)
		}
		var a sqlusers.Account
		if err == nil {
			a, err = s.Administration.Accounts.Account(ctx, id)
		}
		switch {
		case err != nil:
			s.adminRefuse(w, r, "make a link", err, func(status int, word string) { s.showUser(w, r, status, word, nil) })
		case answersJSON(r):
			writeJSON(w, http.StatusCreated, map[string]linkDoc{string(kind): {link.URL, link.Until}})
		default:
			s.showLink(w, r, a.User, kind, link)
		}
	}
}

// plainRoles are the roles beside that of administrators, as a form shows them.
func plainRoles(roles []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(roles), func(r string) bool { return r == sqlusers.Admin }), " ")
}
