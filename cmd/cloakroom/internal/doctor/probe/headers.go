package probe

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxClock is how far two clocks may be apart.
const maxClock = time.Minute

// expected are headers of every answer of the service that a proxy has no reason to
// touch.
var expected = []struct{ name, value string }{
	{"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "same-origin"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
}

// judgeHeaders compares the headers of the login page with what the service sends.
func (r *run) judgeHeaders(a *answer) {
	r.judgePolicy(a)
	r.judgeTransport(a)
	r.judgeClock(a)
	if value := strings.Join(a.Header.Values("Cache-Control"), ", "); !hasDirective(value, "no-store") {
		what := words("the service says Cache-Control: no-store, and nothing of it arrives")
		if value != "" {
			what = "the service says Cache-Control: no-store, and what arrives is " + quote(value)
		}
		r.warn("url-cache-control", what, "browsers and caches on the way may keep the pages of whoever is signed in, and show them to the next",
			"take the rewriting away (nginx: no expires, no add_header Cache-Control and no proxy_hide_header Cache-Control for "+own(r.Prefix)+")")
	}
	if referrerPolicy(a.Header) == "no-referrer" {
		r.fail("url-referrer-policy", "the proxy sets Referrer-Policy: no-referrer", "browsers then send Origin: null with the service's own forms, and every login is refused (403 Cross-origin request)",
			"take the header away (nginx: no add_header Referrer-Policy): the service sends same-origin, which tells other sites as little")
	}
	var bad []words
	for _, e := range expected {
		values := a.Header.Values(e.name)
		switch {
		case e.name == "Referrer-Policy" && r.told["url-referrer-policy"]:
		case len(values) == 0:
			bad = append(bad, own(e.name)+" is gone")
		case len(values) > 1:
			bad = append(bad, own(e.name)+" comes "+number(len(values))+" times")
		case !strings.EqualFold(values[0], e.value):
			bad = append(bad, own(e.name)+" is "+quote(values[0])+" in place of "+own(e.value))
		}
	}
	if len(bad) > 0 {
		r.warn("url-headers", "headers of the service do not arrive as they were sent: "+joined(bad, "; "), "they keep browsers from guessing types, from telling other sites and from letting them in; where two differ some browsers take neither",
			"let the proxy pass them, and add none of its own for "+own(r.Prefix)+" (nginx: no proxy_hide_header, and no add_header of the same names)")
	}
	r.judgeContent(a)
}

func hasDirective(value, directive string) bool {
	for d := range strings.SplitSeq(value, ",") {
		if strings.EqualFold(strings.TrimSpace(d), directive) {
			return true
		}
	}
	return false
}

// referrerPolicy is the policy that a browser goes by: the last word that it knows
// (Referrer Policy §8.1).
func referrerPolicy(h http.Header) (policy string) {
	for word := range strings.SplitSeq(strings.Join(h.Values("Referrer-Policy"), ","), ",") {
		switch word = strings.ToLower(strings.TrimSpace(word)); word {
		case "no-referrer", "same-origin", "no-referrer-when-downgrade", "strict-origin", "strict-origin-when-cross-origin",
			"origin", "origin-when-cross-origin", "unsafe-url":
			policy = word
		}
	}
	return policy
}

// judgePolicy looks at the content security policy.
func (r *run) judgePolicy(a *answer) {
	const header = "Content-Security-Policy"
	policies := a.Header.Values(header)
	for _, p := range strings.Split(strings.Join(policies, ","), ",") {
		if why := blocksForm(p, a.url, r.at(a.url, "/login")); why != "" {
			if all := strings.Join(policies, ","); r.secrets.blank(all) != all { // it may be cut anywhere
				r.secrets.instead(why, strings.Fields(why)[0]+" "+blank)
			}
			r.fail("url-csp-form", "a content security policy of the proxy has "+quote(why), "browsers refuse to send the form to sign in, and say nothing to the visitor",
				"take the proxy's policy away (nginx: no add_header "+header+"): the service sends one that fits its pages")
			return
		}
	}
	const why = "the policy keeps scripts out of the pages and the pages out of other sites' frames"
	const do = "let the proxy pass the service's " + header + ", and add none of its own (nginx: no proxy_hide_header, no add_header)"
	mine := func(p string) bool {
		return strings.Contains(p, "default-src 'none'") && strings.Contains(p, "frame-ancestors 'none'") &&
			strings.Contains(p, "form-action 'self'") && strings.Contains(p, "base-uri 'none'") && !strings.Contains(p, "unsafe")
	}
	switch {
	case len(policies) == 0:
		r.warn("url-csp", "the pages come without the service's "+header, why, do)
	case len(policies) > 1:
		r.warn("url-csp", "the pages come with "+number(len(policies))+" headers "+header, "browsers obey all of them at once: what one of them forbids is lost, as the style of the pages", do)
	case !mine(policies[0]):
		r.warn("url-csp", "the proxy sends a "+header+" of its own: "+quote(policies[0]), why, do)
	}
}

// blocksForm returns the directive of a policy by which a browser would not send a
// form to an address; "" if it would (CSP 3 §6.4.1, HTML sandbox).
func blocksForm(policy string, self, to *url.URL) string {
	for d := range strings.SplitSeq(policy, ";") {
		words := strings.Fields(d)
		if len(words) == 0 {
			continue
		}
		switch strings.ToLower(words[0]) {
		case "sandbox":
			if all := " " + strings.ToLower(strings.Join(words[1:], " ")) + " "; !strings.Contains(all, " allow-forms ") || !strings.Contains(all, " allow-same-origin ") {
				return strings.TrimSpace(d)
			}
		case "form-action":
			for _, source := range words[1:] {
				if formSource(strings.ToLower(source), self, to) {
					return ""
				}
			}
			return strings.TrimSpace(d)
		}
	}
	return ""
}

// formSource tells whether a source of form-action allows an address.
func formSource(source string, self, to *url.URL) bool {
	switch source {
	case "'self'":
		return origin(self) == origin(to)
	case "*", to.Scheme + ":":
		return true
	}
	if !strings.Contains(source, "://") {
		source = self.Scheme + "://" + source
	}
	u, err := url.Parse(source)
	if err != nil || u.Scheme != to.Scheme {
		return false
	}
	if parent, ok := strings.CutPrefix(u.Hostname(), "*"); ok {
		return strings.HasSuffix(to.Hostname(), parent)
	}
	return origin(u) == origin(to) && (u.Path == "" || u.Path == "/" || strings.HasPrefix(to.Path, u.Path))
}

// judgeTransport looks at Strict-Transport-Security, which the service sends as soon
// as it knows that visitors come by https.
func (r *run) judgeTransport(a *answer) {
	const header = "Strict-Transport-Security"
	if a.url.Scheme != "https" || !r.Service.TLS && !strings.HasPrefix(r.Service.PublicURL, "https:") {
		r.spare("url-hsts")
		return
	}
	values := a.Header.Values(header)
	const do = "let the service's header alone pass (nginx: no proxy_hide_header and no add_header " + header + ")"
	switch {
	case len(values) == 0:
		r.warn("url-hsts", "the service's "+header+" does not arrive", "a visitor's first request of the day may go over plain http, where somebody in between answers it", do)
	case len(values) > 1:
		r.warn("url-hsts", header+" comes "+number(len(values))+" times", "browsers go by the first alone, which may be the shorter", do)
	case maxAge(values[0]) < 365*24*time.Hour:
		r.warn("url-hsts", header+" is "+quote(values[0]), "it is for less than a year (ASVS 3.4.1)", do)
	}
}

func maxAge(value string) time.Duration {
	for d := range strings.SplitSeq(value, ";") {
		if text, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(d)), "max-age="); ok {
			n, _ := strconv.ParseInt(strings.Trim(text, `"`), 10, 32)
			return time.Duration(n) * time.Second
		}
	}
	return 0
}

// judgeClock compares our clock with that of whoever wrote the Date.
func (r *run) judgeClock(a *answer) {
	at, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		r.missed("the answer has no Date that can be read", "url-clock")
		return
	}
	off := at.Sub(r.net.now()).Truncate(time.Second)
	way := words("ahead of")
	if off < 0 {
		off, way = -off, "behind"
	}
	if off > maxClock {
		r.warn("url-clock", "the clock of the server at "+shown(a.url.Host)+" is "+own(off.String())+" "+way+" this machine's", "sessions end too early or too late where instances disagree about the time, and so do keys and links",
			"let both follow a time server: timedatectl set-ntp true")
	}
}

// judgeContent looks for a page that something rewrote.
func (r *run) judgeContent(a *answer) {
	const why = "what rewrites the page reads passwords as well, and breaks forms, styles and policies"
	const do = "turn off whatever changes pages on the way (nginx: sub_filter, mod_pagespeed; a CDN: minification, Rocket Loader, injected analytics)"
	media := a.Header.Get("Content-Type")
	m := formAction.FindStringSubmatch(a.body)
	switch {
	case !strings.EqualFold(strings.ReplaceAll(media, " ", ""), "text/html;charset=utf-8"):
		r.warn("url-content", "the page comes as "+quote(media)+" in place of text/html; charset=utf-8", "browsers show it as source text, offer it as a file, or garble names", do)
	case strings.Contains(a.body, "<script"):
		r.fail("url-content", "the page to sign in has a script in it that the service did not put there", why, do)
	case m != nil && m[1] != r.Prefix+"/login":
		if clean := r.secrets.blankPassword(a.body); clean != a.body {
			shown := blank
			if m := formAction.FindStringSubmatch(clean); m != nil {
				shown = m[1]
			}
			r.secrets.instead(m[1], shown)
		}
		r.fail("url-content", "the form of the page is sent to "+quote(m[1])+" in place of "+quote(r.Prefix+"/login"), why, do)
	case !strings.Contains(a.body, `href="`+r.Prefix+`/`):
		r.warn("url-content", "the page's links do not lead under "+own(r.Prefix), why, do)
	}
}
