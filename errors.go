package cloakroom

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

// What [Session.Commit], [Session.End] and the methods of a [Manager] return,
// wrapped with what was being done. Compare with errors.Is.
var (
	// ErrRenewed says that another request has renewed the token which this one
	// came with: 409 Session renewed. The browser has the new one and may ask again.
	ErrRenewed = errors.New("session was renewed by another request")

	// ErrEnded says that the session ended while the request was running: 409.
	ErrEnded = errors.New("session has ended")

	// ErrUnavailable says that the store could not answer in time: 503. What was
	// to be saved is not saved, or cannot be known to be.
	ErrUnavailable = errors.New("session store is unavailable")

	// ErrTooLarge says that the values would have become larger than
	// Options.MaxBytes, or a sealed session larger than a cookie can be.
	ErrTooLarge = errors.New("session is too large")

	// ErrHeaderSent says that the change needs a new cookie, as each change of a
	// sealed session does, and that the response's header has already left.
	ErrHeaderSent = errors.New("the response header has left and no cookie can be set")

	// ErrFinished says that the session was used after its handler returned.
	ErrFinished = errors.New("the request is over")

	// ErrSkipped says that a login was asked for on a request which
	// Options.Skip or Options.SkipHeader made anonymous.
	ErrSkipped = errors.New("the request was skipped and has no session")

	// ErrNoUserStore says that the store cannot find a user's sessions, as it is
	// no store.UserStore, or that they are sealed in cookies, where nobody can.
	ErrNoUserStore = errors.New("the store cannot list sessions by user")
)

// A ValueError is a value that could not be encoded or decoded. Its text names
// types only; Err may quote the value, and is nothing for a log.
type ValueError struct {
	Name string // the key's name
	Err  error
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("session value %q: %s", e.Name, valueFault(e.Err))
}

// Unwrap returns the reason.
func (e *ValueError) Unwrap() error { return e.Err }

// Status returns the status of an HTTP response for an error of this package:
// 409 for ErrRenewed and ErrEnded, 503 for ErrUnavailable, 500 for all others.
func Status(err error) int {
	switch {
	case errors.Is(err, ErrRenewed), errors.Is(err, ErrEnded):
		return http.StatusConflict
	case errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// WriteError answers a request with an error of this package, as a [Manager]
// does where Options.ErrorHandler is nil: a problem document (RFC 9457) or, for a
// client that prefers it, a page. A browser's navigation that came with a
// renewed token is sent to the same address once more, where it arrives with its
// new one. The text says nothing about the cause: that is for the log.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	status := Status(err)
	detail := "Internal error"
	switch {
	case errors.Is(err, ErrRenewed):
		if to, ok := sameAddress(r); ok && problem.Navigation(r) {
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusSeeOther)
			return
		}
		detail = problem.SessionRenewed
	case errors.Is(err, ErrEnded):
		detail = problem.SessionEnded
	case errors.Is(err, ErrUnavailable):
		w.Header().Set("Retry-After", "1")
		detail = problem.Unavailable
	}
	problem.Write(w, r, status, detail)
}

// sameAddress returns the target of the request as a Location that leads to this
// host only. A browser takes "//host" and "/\host" for another one.
func sameAddress(r *http.Request) (string, bool) {
	to := r.RequestURI
	if to == "" || to[0] != '/' || len(to) > 1 && (to[1] == '/' || to[1] == '\\') {
		return "", false
	}
	for i := range len(to) {
		if to[i] <= ' ' || to[i] == '\\' || to[i] == 0x7f {
			return "", false
		}
	}
	return to, true
}
