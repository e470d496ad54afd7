package web

import "fmt"

// texts is everything that the pages say, by the name under which templates and
// handlers ask for it. A text with verbs takes arguments.
var texts = map[string]string{
	"name":     "Cloakroom",
	"skip":     "Skip to content",
	"nav":      "Account",
	"logout":   "Sign out",
	"username": "User name",
	"password": "Password",

	"password.hint": "At least 8 characters. A few words in a row are easy to remember and hard to guess.",

	"login.title":   "Sign in",
	"login.button":  "Sign in",
	"login.wrong":   "User name or password is wrong.",
	"login.noadmin": "There is no administrator yet. For a setup link, run",
	"login.missing": "Enter your user name and your password.",

	"before.title": "Almost ready",
	"before.text":  "There is no administrator yet. Open the setup link that the service printed when it started, or print a new one on the machine it runs on:",
	"before.more":  "A link works once and for 30 minutes.",

	"setup.title":    "Set up Cloakroom",
	"setup.text":     "Choose name and password of the first administrator.",
	"setup.button":   "Create administrator",
	"setup.name":     "Choose a user name of 1 to 256 bytes, without spaces and control characters.",
	"setup.taken":    "There is a user of this name already. Choose another one.",
	"setup.short":    "The password is too short: at least 8 characters.",
	"setup.long":     "The password is too long: at most 1,024 bytes.",
	"setup.gone":     "This link is used up",
	"setup.gonetext": "A setup link works once and for 30 minutes, and only until there is an administrator. If there is none yet, print a new link on the machine that the service runs on:",

	"profile.title":    "Profile",
	"profile.roles":    "Roles",
	"profile.noroles":  "none",
	"profile.since":    "Signed in since",
	"profile.until":    "Signed in until",
	"profile.idle":     "at the latest, and no longer than %s without a request",
	"profile.sessions": "See where you are signed in",

	"sessions.title":     "Sessions",
	"sessions.text":      "These devices are signed in with your account. End what you do not recognise.",
	"sessions.current":   "this device",
	"sessions.since":     "since",
	"sessions.seen":      "Last seen",
	"sessions.end":       "End",
	"sessions.endthis":   "End the session of this device",
	"sessions.endone":    "End the session of %s, %s",
	"sessions.endothers": "End all other sessions",
	"sessions.ended":     "The session has ended.",
	"sessions.endedall":  "All other sessions have ended.",
	"sessions.unlisted":  "You are signed in on this device. Sessions on other devices are not known here, but can be ended.",
	"sessions.ended0":    "There was no other session.",
	"sessions.ended1":    "One other session has ended.",
	"sessions.endedn":    "%d other sessions have ended.",

	"error.id":      "If you ask for help, name this request: %s",
	"error.home":    "To the start",
	"error.again":   "Try again",
	"error.sign-in": "Sign in",
}

// errorTexts are title and explanation of error pages, by status. Status 0 is
// for all that have none of their own.
var errorTexts = map[int][2]string{
	0:   {"This did not work", "The request could not be answered."},
	400: {"This request is malformed", "Something in the request is not as it should be. Go back and try again."},
	401: {"Please sign in", "You are not signed in, or your session has ended."},
	403: {"This is not allowed", "You may not do this. If you think you should, ask an administrator."},
	404: {"Nothing here", "There is no page at this address."},
	405: {"Not this way", "This address does not take such a request."},
	409: {"Your session has changed", "It was renewed or has ended in the meantime, and nothing was saved. Try again."},
	410: {texts["setup.gone"], texts["setup.gonetext"]},
	413: {"This is too much", "The request is larger than this service takes."},
	415: {"Unknown format", "The request is in a format that this service does not take."},
	429: {"Too many attempts", "Wait a while, then try again."},
	500: {"Something went wrong", "The fault is ours, and it is in the log. Try again in a moment."},
	503: {"Out of reach for a moment", "The service cannot answer at present. You are still signed in if you were. Try again in a moment."},
}

// Explanations of a 403 that the visitor can do something about.
const (
	textForm        = "The form is too old, or comes from a session that has ended. Go back, load the page again, and try once more."
	textCrossOrigin = "The request came from another site, so nothing was done."
)

// text returns the text of this name. A name that is none is a fault of the
// program, which the test that renders every page finds.
func text(name string, args ...any) string {
	s, ok := texts[name]
	if !ok {
		panic("web: no text " + name)
	}
	if len(args) == 0 {
		return s
	}
	return fmt.Sprintf(s, args...)
}
