package event

import "slices"

// names are those of the inventory, for whoever counts events. A test holds them against it.
var names = []string{
	Login, LoginRefused, Logout, SessionEnded, SessionRenewed, RolesChanged, CSRFRefused,
	BadCookie, TwoCookies, RecordUnreadable, ValueUnreadable, StoreFailed, StoreDown, StoreUp,
	TouchFailed, WriteAfterEnd, CommitFailed, SweepFailed, AccessRefused, UsersFailed,
	RehashFailed, Throttled, Locked, NewDevice, Reauthenticated, ReauthRefused,
	PasswordChanged, PasswordRefused, LinkUsed, LinkRefused, UserAdded, UserRemoved,
	UserRenamed, UserDisabled, UserEnabled, UserUnlocked, RolesSet, ChangeRequired, InviteMade,
	ResetMade, SessionsEnded, EveryoneEnded, AuditExported, AuditPruned, AuditFailed,
	SpoofedHeader, PolicyViolated, Setup, Panic, KeysChanged, KeysFailed, KeysExpire, KeysUp, KeyAnnounced,
	KeyActivated, KeyRolledBack, KeyRetired, KeyPruned, KeyRewrapped, RotationFailed,
	RiskySetting, Start, Stop,
}

// Names returns the names of all events.
func Names() []string { return slices.Clone(names) }
