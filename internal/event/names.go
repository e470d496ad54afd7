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

	// LoginRefused: a login failed. Warn: user (the name as it was typed), account
	// (the ID, where there is one of this name), addr, reason (unknown, disabled,
	// password, locked, no password, unusable hash, bad name, empty password, too
	// long), or busy where too many hashes were waiting. Error:
	// reason unavailable where the users or the hasher did not answer, and not saved
	// where the session could not be; err.
	LoginRefused = "login_refused"

	// Logout: a visitor ended their own session. Info: user (the ID), addr,
	// session.
	Logout = "logout"

	// SessionEnded: a session was ended by somebody else, by a limit, or because
	// its user is gone, disabled or of another epoch, or has roles that it has no
	// room for. Info: user (the ID) where
	// known, session or count, reason.
	SessionEnded = "session_ended"

	// SessionRenewed: a session goes on under a new token. Info: user (the ID),
	// session (the new one), reason. Warn with reason "login without values" where
	// those of before did not fit beside who signed in.
	SessionRenewed = "session_renewed"

	// RolesChanged: a guard found other roles at the user than in the session,
	// which takes the new ones and renews its token. Info: user (the ID),
	// session.
	RolesChanged = "roles_changed"

	// CSRFRefused: a request was refused as forged or for want of a token. Warn:
	// addr, reason, origin where there is one, session where there is one.
	CSRFRefused = "csrf_refused"

	// BadCookie: a session cookie failed by shape or signature. Info: addr, and reason
	// "retired key" where it names a key of ours that is accepted no more.
	BadCookie = "bad_cookie"

	// TwoCookies: a request carried two different valid session cookies and was
	// taken as anonymous. Warn: addr.
	TwoCookies = "two_cookies"

	// RecordUnreadable: a record could not be opened or decoded; its visitor counts
	// as a stranger, or its line of a list is empty. Error: session, err, and addr
	// where a request came with it.
	RecordUnreadable = "record_unreadable"

	// ValueUnreadable: one value of a session could not be decoded into the type
	// it was asked for. Error: session, name, err.
	ValueUnreadable = "value_unreadable"

	// StoreFailed: the store did not answer. A request that needed it got 503. Error,
	// Info where it was the client that went away, or Debug where the store was not
	// asked: op, session where known, err.
	StoreFailed = "store_failed"

	// StoreDown: the store has stopped answering, and requests no longer wait for
	// it. Error: err.
	StoreDown = "store_down"

	// StoreUp: the store answers again. Info.
	StoreUp = "store_up"

	// TouchFailed: the idle time could not be refreshed; the request went on.
	// Warn: session, err.
	TouchFailed = "touch_failed"

	// WriteAfterEnd: a handler changed a session that could not be saved any more,
	// as the header had left or the handler had returned. Error: addr, err.
	WriteAfterEnd = "write_after_end"

	// CommitFailed: the changes of a request could not be saved. Error, or Info where
	// the session had been renewed or had ended meanwhile: addr, err.
	CommitFailed = "commit_failed"

	// SweepFailed: expired sessions could not be swept; the next turn tries
	// again. Error: err.
	SweepFailed = "sweep_failed"

	// AccessRefused: a guard refused a signed-in user for want of a role or of a
	// recent proof, or until they change their password. Warn: user (the ID), addr,
	// session, reason (role, recent, password change). Info with reason epoch
	// and without addr for a sealed session of another epoch.
	AccessRefused = "access_refused"

	// UsersFailed: the users could not be read, or a new password not be stored as far
	// as is known, and the answer was 503. Error, or Info where it was the client that
	// went away: session, err.
	UsersFailed = "users_failed"

	// RehashFailed: a login succeeded, but its password could not be stored
	// under newer parameters. Warn: user (the ID), err.
	RehashFailed = "rehash_failed"

	// Throttled: a password was not looked at, as too many had been wrong before.
	// Warn: user (the name as it was typed, or the ID of who is signed in), account
	// (the ID, where there is one), addr, reason (account, network, device).
	Throttled = "throttled"

	// Locked: an account, or a device known to be one of its user's, has had as many
	// wrong passwords in a row as it may have, and takes none any more until somebody
	// unlocks it. Warn: user (the name as it was typed, or the ID of who is signed in),
	// account (the ID, where there is one), addr.
	Locked = "locked"

	// NewDevice: a user signed in from a browser that none of their logins has used
	// before, as far as it says. Info: user (the ID), addr, session; Warn with reason
	// "after failures" where wrong passwords came before.
	NewDevice = "new_device"

	// Reauthenticated: a user who is signed in proved their identity anew. Info:
	// user (the ID), addr, session.
	Reauthenticated = "reauthenticated"

	// ReauthRefused: a user who is signed in gave a wrong password where theirs was
	// asked for: to prove their identity anew, or to change it. Warn: user (the ID),
	// account (the same), addr, session, reason (as of LoginRefused). Error likewise.
	ReauthRefused = "reauth_refused"

	// PasswordChanged: a user changed their password, and every other session of
	// theirs ended. Info: user (the ID), addr, session.
	PasswordChanged = "password_changed"

	// PasswordRefused: a new password was refused by the policy. Info: user (the ID)
	// where there is one, addr, reason (too_short, too_long, blocklisted, context,
	// unchanged).
	PasswordRefused = "password_refused"

	// LinkUsed: somebody set a password by an invite or reset link. Info: user (the
	// ID), addr, reason (invite, reset).
	LinkUsed = "link_used"

	// LinkRefused: an invite or reset link was not valid, or no longer. Warn: addr.
	LinkRefused = "link_refused"

	// From here to EveryoneEnded, what administrators do, and who works on the machine
	// itself, whose actor is "console". Each is Info with actor (the ID), user (the ID
	// of the other), and what its comment says.

	// UserAdded: an account was made. name, roles.
	UserAdded = "user_added"

	// UserRemoved: an account was removed. name.
	UserRemoved = "user_removed"

	// UserRenamed: an account has another name. name (the new one).
	UserRenamed = "user_renamed"

	// UserDisabled: an account was disabled, and its sessions ended.
	UserDisabled = "user_disabled"

	// UserEnabled: an account was enabled.
	UserEnabled = "user_enabled"

	// UserUnlocked: wrong passwords of an account were forgotten.
	UserUnlocked = "user_unlocked"

	// RolesSet: an account has other roles. roles (all of them).
	RolesSet = "roles_set"

	// ChangeRequired: a user must change their password at the next login.
	ChangeRequired = "change_required"

	// InviteMade: a link was made by which a user sets their first password.
	InviteMade = "invite_made"

	// ResetMade: a link was made by which a user sets a new password.
	ResetMade = "reset_made"

	// SessionsEnded: sessions of a user were ended. count, or session for one.
	SessionsEnded = "sessions_ended"

	// EveryoneEnded: the sessions of everybody were ended. No user; count where known.
	EveryoneEnded = "everyone_ended"

	// AuditExported: the audit log was exported. Info: actor, count.
	AuditExported = "audit_exported"

	// AuditPruned: entries of the audit log were removed as too old. Info: count.
	AuditPruned = "audit_pruned"

	// AuditFailed: an entry of the audit log could not be kept; it stands in the log
	// alone. Error: op, count, err.
	AuditFailed = "audit_failed"

	// SpoofedHeader: a request carried a header that claims who somebody is or where
	// they come from, and may not: it was ignored. Warn, Debug where it is about the
	// latter, as that comes from proxies that are not configured: addr, header.
	SpoofedHeader = "spoofed_header"

	// PolicyViolated: a browser reports that the content security policy of a page made
	// it refuse something; anybody can say so. Warn: addr, directive, blocked (an origin
	// or a word).
	PolicyViolated = "policy_violated"

	// Setup: a setup link was issued, or the first administrator made. Info: outcome,
	// user (the ID) where there is one. Warn with outcome refused where a link was not
	// valid.
	Setup = "setup"

	// Panic: a handler panicked; the session was not saved. Error: err, stack.
	Panic = "panic"

	// KeysChanged: this instance goes on with other keys. Info: key (the ID of the one
	// that signs), reason (each key's ID and state).
	KeysChanged = "keys_changed"

	// KeysFailed: the source of the keys does not answer, or says what cannot be used;
	// those in hand go on. Warn: err.
	KeysFailed = "keys_failed"

	// KeysExpire: the source of the keys answers, and the login there that it takes could
	// not be renewed: it answers until the time that err names. Warn: err.
	KeysExpire = "keys_expire"

	// KeysUp: the source of the keys answers again. Info.
	KeysUp = "keys_up"

	// KeyAnnounced: a new key is accepted, and signs nothing yet. Info, as those that
	// follow: actor ("console", or "rotation" for the service itself), key (its ID).
	KeyAnnounced = "key_announced"

	// KeyActivated: a key signs from now on, and the one before is retiring.
	KeyActivated = "key_activated"

	// KeyRolledBack: the key before the present one signs again.
	KeyRolledBack = "key_rolled_back"

	// KeyRetired: a key is accepted no more, and what it signed has ended. count (of
	// sessions, where known).
	KeyRetired = "key_retired"

	// KeyPruned: a key whose time had passed was removed.
	KeyPruned = "key_pruned"

	// KeyRewrapped: hashes of passwords that were encrypted under another key are now
	// under the one that signs. count.
	KeyRewrapped = "key_rewrapped"

	// RotationFailed: the service could not rotate its keys; the next turn tries again.
	// Error: err.
	RotationFailed = "rotation_failed"

	// RiskySetting: what is configured works, and may sign people out or lose what was
	// acknowledged. Warn, once at the start: reason.
	RiskySetting = "risky_setting"

	// Start and Stop: the program began and ceased to serve. Info: addr,
	// version.
	Start = "start"
	Stop  = "stop"
)
