package auditlog

import "github.com/cloakroom-dev/cloakroom/internal/event"

// class says how an event is kept.
type class int

const (
	ignored  class = iota // stands in the log alone
	awaited               // its caller waits until it is kept
	noted                 // kept, nobody waits
	flooding              // anybody can cause it at will: bounded
)

// kinds are the events that are kept (ASVS 16.3.1 to 16.3.3). Those of the stores and
// of the program itself are not: they are about machines, come in numbers when the
// database is away, and belong to whoever reads the log.
var kinds = map[string]class{
	event.Login:           awaited,
	event.Logout:          awaited,
	event.Locked:          awaited,
	event.NewDevice:       awaited,
	event.Reauthenticated: awaited,
	event.PasswordChanged: awaited,
	event.LinkUsed:        awaited,
	event.UserAdded:       awaited,
	event.UserRemoved:     awaited,
	event.UserRenamed:     awaited,
	event.UserDisabled:    awaited,
	event.UserEnabled:     awaited,
	event.UserUnlocked:    awaited,
	event.RolesSet:        awaited,
	event.ChangeRequired:  awaited,
	event.InviteMade:      awaited,
	event.ResetMade:       awaited,
	event.SessionsEnded:   awaited,
	event.EveryoneEnded:   awaited,
	event.AuditExported:   awaited,
	event.KeyAnnounced:    awaited,
	event.KeyActivated:    awaited,
	event.KeyRolledBack:   awaited,
	event.KeyRetired:      awaited,
	event.KeyPruned:       awaited,

	event.Start:        noted,
	event.Stop:         noted,
	event.RiskySetting: noted,
	event.KeyRewrapped: noted,
	event.KeysChanged:  noted,

	event.LoginRefused:     flooding,
	event.ReauthRefused:    flooding,
	event.PasswordRefused:  flooding,
	event.LinkRefused:      flooding,
	event.Throttled:        flooding,
	event.AccessRefused:    flooding,
	event.CSRFRefused:      flooding,
	event.BadCookie:        flooding,
	event.TwoCookies:       flooding,
	event.SpoofedHeader:    flooding,
	event.Setup:            flooding, // with outcome refused; else nobody waits in vain
	event.SessionEnded:     flooding,
	event.SessionRenewed:   flooding,
	event.RolesChanged:     flooding,
	event.RecordUnreadable: flooding,
}

// Kept tells whether events of this name become entries.
func Kept(name string) bool { return kinds[name] != ignored || own(name) }

// own are the entries that the log makes itself.
func own(name string) bool { return name == event.AuditFailed || name == event.AuditPruned }

// always tells whether an entry stands out by itself, whatever came before.
func always(e Entry) bool {
	if e.Kind == event.BadCookie && e.Reason == "retired key" {
		return false // of everybody who was signed in
	}
	switch e.Kind {
	case event.Locked, event.BadCookie, event.TwoCookies, event.SpoofedHeader, event.CSRFRefused,
		event.Throttled, event.LinkRefused, event.RecordUnreadable, event.AuditFailed:
		return true
	case event.NewDevice:
		return e.Reason == "after failures"
	case event.LoginRefused:
		return e.Reason == "locked" || e.Count > 1
	case event.Setup:
		return e.Details["outcome"] == "refused"
	}
	return e.Count > 1 && kinds[e.Kind] == flooding && e.Kind != event.SessionEnded && e.Kind != event.SessionRenewed
}
