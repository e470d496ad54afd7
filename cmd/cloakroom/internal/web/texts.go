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

	"password.title":   "Change password",
	"password.current": "Current password",
	"password.new":     "New password",
	"password.show":    "Show the new password",
	"password.button":  "Change password",
	"password.hint":    "At least %d characters. Four or five words that have nothing to do with each other are easy to remember and hard to guess. Spaces are welcome, and so is a password manager.",
	"password.ends":    "You stay signed in here, and are signed out everywhere else.",
	"password.must":    "Choose a password of your own before you go on: the one you have was set by somebody else, or may be known to somebody else.",
	"password.missing": "Enter your current password and a new one.",
	"password.wrong":   "This is not your current password.",
	"password.changed": "Your password has changed. All your other sessions have ended.",

	"password.too_short":   "This password is too short: it needs at least %d characters.",
	"password.too_long":    "This password is too long: it may have at most 1,024 bytes.",
	"password.blocklisted": "This password is among those that are tried first, as many people use it. Choose another one.",
	"password.context":     "This password is little more than your name, or the name of this service. Choose another one.",
	"password.unchanged":   "This is the password that you have. Choose another one.",
	"password.other":       "This password cannot be taken. Choose another one.",

	"reauth.title":   "Confirm that it is you",
	"reauth.text":    "What you are about to do needs a fresh proof of who you are.",
	"reauth.as":      "You are signed in as",
	"reauth.button":  "Confirm",
	"reauth.missing": "Enter your password.",
	"reauth.wrong":   "This is not your password.",
	"reauth.done":    "Confirmed. Now you can do what you came for.",

	"throttled": "There have been too many wrong passwords. Wait %s, then try again.",

	"link.for":      "This link is for",
	"link.invite":   "Choose your password",
	"link.invited":  "You have been invited. Choose a password, then sign in with it.",
	"link.reset":    "Choose a new password",
	"link.resets":   "Choose a new password, then sign in with it. You will be signed out everywhere else.",
	"link.stub":     "Your ticket for one new password",
	"link.button":   "Set password",
	"link.done":     "Your password is set. Sign in with it.",
	"link.gone":     "This link is used up",
	"link.gonetext": "A link works once, for a limited time, and only until the next one is made or the password changes. Ask an administrator for a new one.",

	"login.title":   "Sign in",
	"login.stub":    "Present your ticket",
	"login.button":  "Sign in",
	"login.wrong":   "User name or password is wrong.",
	"login.noadmin": "There is no administrator yet. For a setup link, run",
	"login.missing": "Enter your user name and your password.",

	"before.title": "Almost ready",
	"before.stub":  "Not open yet",
	"before.text":  "There is no administrator yet. Open the setup link that the service printed when it started, or print a new one on the machine it runs on:",
	"before.more":  "A link works once and for 30 minutes.",

	"setup.title":    "Set up Cloakroom",
	"setup.stub":     "The first ticket",
	"setup.text":     "Choose name and password of the first administrator.",
	"setup.button":   "Create administrator",
	"setup.name":     "Choose a user name of 1 to 256 bytes, without spaces and control characters.",
	"setup.taken":    "There is a user of this name already. Choose another one.",
	"setup.gone":     "This link is used up",
	"setup.gonetext": "A setup link works once and for 30 minutes, and only until there is an administrator. If there is none yet, print a new link on the machine that the service runs on:",

	"profile.title":    "Profile",
	"profile.noroles":  "No roles",
	"profile.since":    "Signed in since",
	"profile.proof":    "Last proof of identity",
	"profile.until":    "Signed in until",
	"profile.idle":     "at the latest, and no longer than %s without a request",
	"profile.password": "Changing it ends your sessions everywhere else.",
	"profile.sessions": "The devices that are signed in with your account.",
	"profile.where":    "See sessions",

	"sessions.title":     "Sessions",
	"sessions.text":      "These devices are signed in with your account. End what you do not recognise, then change your password.",
	"sessions.current":   "This device",
	"sessions.from":      "From",
	"sessions.since":     "Signed in",
	"sessions.seen":      "last seen",
	"sessions.method":    "by %s",
	"sessions.end":       "End",
	"sessions.endthis":   "Sign out on this device",
	"sessions.endone":    "End the session of %s, number %s",
	"sessions.several":   "Several at once",
	"sessions.proof":     "If you have not entered your password within %s, you are asked for it first.",
	"sessions.endothers": "End all others",
	"sessions.endall":    "End all, this one too",
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
	"error.must":    "Your password must be changed before you can do anything else.",
	"error.proof":   "What you asked for needs a fresh proof of who you are, and was not done.",
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
	422: {"This cannot be taken", "Something that was entered cannot be taken. Go back and try again."},
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
		s, ok = adminTexts[name]
	}
	if !ok {
		panic("web: no text " + name)
	}
	if len(args) == 0 {
		return s
	}
	return fmt.Sprintf(s, args...)
}
