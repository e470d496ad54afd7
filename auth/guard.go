package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// RequireLogin lets only users in who are signed in. Others get 401, a browser's
// navigation a 303 to the login page, from where it comes back to the same
// address by GET. Whatever a refused request carried in its body is gone: it is
// never kept and sent again.
//
// All guards set Cache-Control: no-store, which next may narrow, treat all
// methods alike, and panic at the first request that did not come through the
// Manager's Handler.
func (a *Auth) RequireLogin(next http.Handler) http.Handler {
	return a.guard(Rule{}, next)
}

// RequireRole lets only users in who hold at least one of the roles. Others who
// are signed in get 403. It asks for a login by itself. It panics without roles
// and for an empty one.
func (a *Auth) RequireRole(roles ...string) func(http.Handler) http.Handler {
	if len(roles) == 0 || slices.Contains(roles, "") {
		panic("auth: RequireRole needs roles, none of them empty")
	}
	rule := Rule{Roles: slices.Clone(roles)}
	return func(next http.Handler) http.Handler { return a.guard(rule, next) }
}

// RequireRecent lets only users in who proved their identity within the time
// max, for what does harm in the hands of whoever finds a screen unlocked (ASVS
// 7.5.1). Others who are signed in get 401 Recent authentication required, a
// browser's navigation a 303 to Options.ReauthURL if there is one. It asks for a
// login by itself. It panics if max is not positive.
func (a *Auth) RequireRecent(max time.Duration) func(http.Handler) http.Handler {
	if max <= 0 {
		panic(fmt.Sprintf("auth: RequireRecent(%v): a proof is always older than that", max))
	}
	return func(next http.Handler) http.Handler { return a.guard(Rule{Recent: max}, next) }
}

// RequireLoginToChange lets users in who are signed in, also those who must change
// their password, whom all other guards refuse with 403 Password change required: a
// browser's navigation with a 303 to Options.PasswordURL if there is one. It is for
// the page where they change it, and for whatever that page cannot do without.
func (a *Auth) RequireLoginToChange(next http.Handler) http.Handler {
	return a.guard(Rule{AllowMustChange: true}, next)
}

// guard runs next for requests that fulfil the rule. It never looks at the
// method: a request is guarded, whatever it calls itself.
func (a *Auth) guard(rule Rule, next http.Handler) http.Handler {
	if next == nil {
		panic("auth: a guard needs a handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		d := a.Decide(ctx, rule)
		w.Header().Set("Cache-Control", "no-store")
		if !d.Allowed {
			a.refused(w, r, d)
			return
		}
		ctx = context.WithValue(ctx, knownKey{}, &known{by: a, user: d.User})
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// refused logs and answers a request that a guard has not let through.
func (a *Auth) refused(w http.ResponseWriter, r *http.Request, d Decision) {
	reason, to := "", (*url.URL)(nil)
	switch {
	case errors.Is(d.Err, ErrUnauthenticated):
		to = a.login
	case errors.Is(d.Err, ErrRecentAuth):
		reason, to = "recent", a.reauth
	case errors.Is(d.Err, ErrPasswordChange):
		reason, to = "password change", a.passwd
	case errors.Is(d.Err, ErrForbidden):
		reason = "role"
	}
	if reason != "" {
		ctx := r.Context()
		a.event(ctx, slog.LevelWarn, event.AccessRefused, event.User(d.User.ID), event.Addr(a.m.ClientAddr(r)),
			event.Session(a.m.FromContext(ctx).ID()), event.Reason(reason))
	}
	// A login page behind its own guard would send the browser in a circle.
	if to != nil && problem.Navigation(r) && r.URL.Path != to.Path {
		w.Header().Add("Vary", "Accept")
		w.Header().Set("Location", withNext(to, r))
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	a.refuse(w, r, d.Err)
}

// withNext returns the address of a page with the one that r asked for, so that
// the page can lead back.
func withNext(page *url.URL, r *http.Request) string {
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI() // a request that no server has read
	}
	u := *page
	if local(target) {
		q := u.Query()
		q.Set("next", target)
		u.RawQuery = q.Encode()
	}
	return u.String()
}
