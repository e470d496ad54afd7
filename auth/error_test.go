package auth_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/password"
)

func TestStatusAndWriteErrorAgree(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		detail string
		after  string
	}{
		{auth.ErrBadCredentials, 401, "Invalid credentials", ""},
		{auth.ErrUnauthenticated, 401, "Not authenticated", ""},
		{auth.ErrRecentAuth, 401, "Recent authentication required", ""},
		{auth.ErrForbidden, 403, "Forbidden", ""},
		{auth.ErrUnavailable, 503, "Unavailable", "1"},
		{&password.BusyError{RetryAfter: 7 * time.Second}, 503, "Unavailable", "7"},
		{cloakroom.ErrUnavailable, 503, "Unavailable", "1"},
		{cloakroom.ErrRenewed, 409, "Session renewed", ""},
		{cloakroom.ErrEnded, 409, "Session ended", ""},
		{auth.ErrNoUser, 500, "Internal error", ""},
		{errors.New("canary"), 500, "Internal error", ""},
		// An outage is no verdict, whatever its reason says.
		{fmt.Errorf("%w: %w", auth.ErrBadCredentials, auth.ErrUnavailable), 503, "Unavailable", "1"},
	} {
		for _, err := range []error{c.err, fmt.Errorf("sign canary in: %w", c.err)} {
			if got := auth.Status(err); got != c.status {
				t.Errorf("Status(%v) = %d, want %d", err, got, c.status)
			}
			w := httptest.NewRecorder()
			auth.WriteError(w, httptest.NewRequest("POST", "/login", nil), err)
			if w.Code != c.status || !strings.Contains(w.Body.String(), `"detail":"`+c.detail+`"`) || w.Header().Get("Retry-After") != c.after {
				t.Errorf("WriteError(%v): %d %v %s", err, w.Code, w.Header(), w.Body)
			}
			if strings.Contains(w.Body.String(), "canary") {
				t.Errorf("WriteError(%v) repeats it: %s", err, w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("WriteError(%v): %v", err, w.Header())
			}
		}
	}
}
