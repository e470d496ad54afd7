package event

// The names of all events: the log inventory (ASVS 16.2.1). Each comment says
// when the line is written, at which level, and which attributes it carries
// beside the time. A line never carries a token, a password, a key, a CSRF token
// or a hash of a password; sessions appear under their handle, and whatever came
// from outside is quoted.
const (
	// Login: a user proved who they are and a session was signed in. Info: user
	// (the ID), addr, session.
	Login = "login"

	// LoginRefused: a login failed. Warn: user (the name as it was typed), addr,
	// reason (unknown, disabled, password, no password, bad name, too long).
	// Error where the users or the hasher could not answer: reason unavailable,
	// err; Warn with reason busy where too many hashes were waiting.
	LoginRefused = "login_refused"

	// Throttled: a login was refused before its password was looked at, because
	// too many had failed. Warn: user (as typed), addr.
	Throttled = "throttled"

	// Logout: a visitor ended their own session. Info: user (the ID), addr,
	// session.
	Logout = "logout"

	// SessionEnded: a session was ended by somebody else, by a limit, or because
	// its user is gone, disabled or of another epoch. Info: user (the ID) where
	// known, session or count, reason.
	SessionEnded = "session_ended"

	// SessionRenewed: a session goes on under a new token. Info: user (the ID),
	// session (the new one), reason.
	SessionRenewed = "session_renewed"

	// RolesChanged: a guard found other roles at the user than in the session,
	// which takes the new ones and renews its token. Info: user (the ID),
	// session.
	RolesChanged = "roles_changed"

	// CSRFRefused: a request was refused as forged or for want of a token. Warn:
	// addr, reason, origin where there is one, session where there is one.
	CSRFRefused = "csrf_refused"

	// BadCookie: a session cookie failed by shape or signature. Info: addr,
	// reason.
	BadCookie = "bad_cookie"

	// TwoCookies: a request carried two different valid session cookies and was
	// taken as anonymous. Warn: addr.
	TwoCookies = "two_cookies"

	// RecordUnreadable: a record could not be opened or decoded; its session
	// counts as ended. Error: session, err.
	RecordUnreadable = "record_unreadable"

	// ValueUnreadable: one value of a session could not be decoded into the type
	// it was asked for. Error: session, name, err.
	ValueUnreadable = "value_unreadable"

	// StoreFailed: the store could not answer; the request got 503. Error: op,
	// session where known, err.
	StoreFailed = "store_failed"

	// TouchFailed: the idle time could not be refreshed; the request went on.
	// Warn: session, err.
	TouchFailed = "touch_failed"

	// WriteAfterEnd: a handler changed a session that could not be saved any
	// more, as the header had left or the handler had returned. Error: session,
	// err.
	WriteAfterEnd = "write_after_end"

	// CommitFailed: the changes of a request could not be saved. Error (Info
	// where the session had been renewed or had ended meanwhile): session, err.
	CommitFailed = "commit_failed"

	// SweepFailed: expired sessions could not be swept; the next turn tries
	// again. Error: err.
	SweepFailed = "sweep_failed"

	// AccessRefused: a guard refused a signed-in user for want of a role or of a
	// recent proof. Warn: user (the ID), addr, session, reason.
	AccessRefused = "access_refused"

	// UsersFailed: a guard could not read the users and answered 503. Error:
	// addr, session, err.
	UsersFailed = "users_failed"

	// RehashFailed: a login succeeded, but its password could not be stored
	// under newer parameters. Warn: user (the ID), err.
	RehashFailed = "rehash_failed"

	// PasswordChanged: a user's password was changed. Info: user (the ID), addr.
	PasswordChanged = "password_changed"

	// UserChanged: an account was made, disabled, enabled, or given other roles.
	// Info: user (the ID), by (the ID of who did it), action.
	UserChanged = "user_changed"

	// Setup: the first administrator was made, or a setup link was issued or
	// refused. Info: user (the ID) where there is one, addr, outcome.
	Setup = "setup"

	// KeysChanged: the key ring was replaced, or keys were rotated or taken
	// away. Info: active (the key's ID), action.
	KeysChanged = "keys_changed"

	// Panic: a handler panicked; the session was not saved. Error: err.
	Panic = "panic"

	// Start and Stop: the program began and ceased to serve. Info: addr,
	// version.
	Start = "start"
	Stop  = "stop"
)
