package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/internal/problem"
	"github.com/cloakroom-dev/cloakroom/password"
)

// Why a login failed or a guard did not open. They may come wrapped; compare
// with errors.Is.
var (
	// ErrBadCredentials says that name and password do not belong together. It
	// is the same for an account that is unknown, disabled or has no password:
	// 401 Invalid credentials.
	ErrBadCredentials = errors.New("auth: invalid credentials")

	// ErrUnauthenticated says that nobody is signed in, or no longer: 401 Not
	// authenticated.
	ErrUnauthenticated = errors.New("auth: not authenticated")

	// ErrRecentAuth says that identity was proven too long ago: 401 Recent
	// authentication required.
	ErrRecentAuth = errors.New("auth: recent authentication required")

	// ErrPasswordChange says that the user must change their password before
	// anything else: 403 Password change required.
	ErrPasswordChange = errors.New("auth: password change required")

	// ErrForbidden says that the user lacks the role: 403 Forbidden.
	ErrForbidden = errors.New("auth: forbidden")

	// ErrUnavailable says that the users could not be read or the password not
	// be verified, and so nothing about either: 503 Unavailable.
	ErrUnavailable = errors.New("auth: unavailable")
)

// ThrottledError says that a password was not looked at, as too many had been wrong
// before, of this account or from this network: 429 Too many attempts. Whether the
// account exists makes no difference.
type ThrottledError struct {
	// RetryAfter is when the next attempt is let through: whole seconds, at least
	// one.
	RetryAfter time.Duration
}

// Error implements error.
func (e *ThrottledError) Error() string {
	return "auth: too many attempts, try again " + inWords(e.RetryAfter)
}

// unavailable wraps why the users did not answer. The reason is for the log.
func unavailable(op string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, op, err)
}

// outage is the level at which an event is written that kept somebody out: not an
// error where it was the client that went away.
func outage(err error) slog.Level {
	if errors.Is(err, context.Canceled) {
		return slog.LevelInfo
	}
	return slog.LevelError
}

// verdict returns status and detail of the answer to an error of this package,
// and 0 for every other one.
func verdict(err error) (status int, detail string) {
	var busy *password.BusyError
	var throttled *ThrottledError
	var policy *password.PolicyError
	switch {
	case errors.As(err, &throttled):
		return http.StatusTooManyRequests, problem.TooManyAttempts
	case errors.As(err, &policy):
		return http.StatusUnprocessableEntity, policy.Error()
	case errors.Is(err, ErrUnavailable), errors.As(err, &busy):
		return http.StatusServiceUnavailable, problem.Unavailable
	case errors.Is(err, ErrBadCredentials):
		return http.StatusUnauthorized, problem.InvalidCredentials
	case errors.Is(err, ErrUnauthenticated):
		return http.StatusUnauthorized, problem.NotAuthenticated
	case errors.Is(err, ErrRecentAuth):
		return http.StatusUnauthorized, problem.RecentAuth
	case errors.Is(err, ErrPasswordChange):
		return http.StatusForbidden, problem.PasswordChange
	case errors.Is(err, ErrForbidden):
		return http.StatusForbidden, problem.Forbidden
	}
	return 0, ""
}

// Status returns the status of the answer to an error of this package, of
// password or of cloakroom: 401, 403, 409, 422, 429 or 503, and 500 for all
// others.
func Status(err error) int {
	if status, _ := verdict(err); status != 0 {
		return status
	}
	return cloakroom.Status(err)
}

// WriteError answers a request with an error of this package, of password or of
// cloakroom: with a problem document (RFC 9457), or a page for a client that
// prefers it. 503 and 429 carry Retry-After, and the page of the latter says it in
// words; the document of a password that the policy refuses has the
// [password.Reason] as its reason. The text says nothing about any other cause: that
// is for the log. Where a session was renewed, a browser's navigation is sent to the
// same address once more, see [cloakroom.WriteError].
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	status, detail := verdict(err)
	if status == 0 {
		cloakroom.WriteError(w, r, err)
		return
	}
	answer := problem.Answer{Status: status, Detail: detail}
	after := time.Second
	var busy *password.BusyError
	var throttled *ThrottledError
	var policy *password.PolicyError
	switch {
	case errors.As(err, &throttled):
		after = throttled.RetryAfter
		answer.Words = "Too many attempts. Try again " + inWords(after) + "."
	case errors.As(err, &policy):
		answer.Reason = string(policy.Reason)
	case errors.As(err, &busy):
		after = busy.RetryAfter
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(wholeSeconds(after)/time.Second)))
	}
	answer.Write(w, r)
}

// wholeSeconds rounds up, as Retry-After knows no parts of a second: who came back
// a moment early would be refused once more.
func wholeSeconds(d time.Duration) time.Duration {
	return max(time.Second, (d + time.Second - 1).Truncate(time.Second))
}

// inWords says for people how long a wait is: in seconds up to two minutes, and in
// minutes beyond, rounded up.
func inWords(d time.Duration) string {
	n, unit := int(wholeSeconds(d)/time.Second), "second"
	if n > 120 {
		n, unit = (n+59)/60, "minute"
	}
	if n > 1 {
		unit += "s"
	}
	return fmt.Sprintf("in %d %s", n, unit)
}
