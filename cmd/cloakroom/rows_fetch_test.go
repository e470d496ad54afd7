package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// Nothing that the service ships listens to messages of other windows, or sends
// any.
func TestASVS_3_5_5_NoMessagesBetweenWindows(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ada := s.setup()
	n := 0
	for _, r := range routes(t, s.client()) {
		if !r.has("GET") {
			continue
		}
		n++
		a := ada.page(r.path)
		for _, word := range []string{"postMessage", `"message"`, "onmessage", "MessageChannel", "BroadcastChannel", "window.opener"} {
			if strings.Contains(a.body, word) {
				t.Errorf("%s: %s", name(a), word)
			}
		}
	}
	if n < 9 {
		t.Errorf("only %d routes read", n)
	}
}

// No answer becomes a call of a function that the address names.
func TestASVS_3_5_6_NoJSONP(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ada := s.setup()
	n := 0
	for _, r := range routes(t, s.client()) {
		if !r.has("GET") || r.isAsset() {
			continue
		}
		for _, accept := range []string{"", "*/*", "application/json", "application/javascript", "text/javascript"} {
			for _, c := range []*client{ada, s.client()} {
				a := c.do("GET", r.path+"?callback=canary&jsonp=canary&cb=canary&format=jsonp&_callback=canary", "", "Accept", accept)
				if strings.Contains(a.body, "canary") {
					t.Errorf("%s: %s", name(a), a.body)
				}
				if media := a.Header.Get("Content-Type"); strings.Contains(media, "json") {
					n++
					documents := []string{a.body}
					if strings.Contains(media, "jsonl") || strings.Contains(media, "ndjson") {
						documents = strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
					}
					for _, d := range documents {
						if !json.Valid([]byte(d)) || !strings.HasPrefix(d, "{") {
							t.Errorf("%s: no document: %.200s", name(a), d)
						}
					}
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d documents", n)
	}
}

// A script, and whatever else a page of another origin may load and run, is the
// same for everybody; what belongs to somebody is never of such a type.
func TestASVS_3_5_7_NoScriptHasData(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ada, stranger := s.setup(), s.client()
	known := []string{"text/html; charset=utf-8", "application/json", "application/problem+json"}
	scripts := 0
	for _, r := range routes(t, s.client()) {
		for _, method := range r.methods {
			for _, accept := range []string{"*/*", "text/javascript", "text/css", "application/javascript,*/*;q=0.1", "image/*", htmlAccept} {
				a := ada.do(method, r.path, "", "Accept", accept, "Sec-Fetch-Site", "same-origin")
				media := a.Header.Get("Content-Type")
				if a.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: may be sniffed", name(a))
				}
				if r.isAsset() {
					scripts++
					if other := stranger.do(method, r.path, "", "Accept", accept); other.body != a.body || len(a.Cookies()) > 0 || a.StatusCode != 200 {
						t.Errorf("%s: not the same for everybody", name(a))
					}
					continue
				}
				if a.body != "" && !slices.Contains(known, media) && !strings.HasPrefix(media, "text/csv") && !strings.HasPrefix(media, "application/jsonl") && !strings.HasPrefix(media, "application/x-ndjson") {
					t.Errorf("%s with Accept %s: %s", name(a), accept, media)
				}
			}
		}
	}
	if scripts < 12 {
		t.Errorf("only %d answers of assets", scripts)
	}
}

// A page of another origin of the same site, to whose requests the browser adds
// the cookie, loads what is somebody's as a script, a picture, a style and by
// fetch: a real Chromium hands it nothing.
func TestASVS_3_5_8_ChromiumLoadsNothingIntoOtherPages(t *testing.T) {
	s := start(t, t.TempDir())
	s.setup()
	mine := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a.js" {
			w.Header().Set("Content-Type", "text/javascript")
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>other</title><p>other")
	}))
	defer other.Close()
	b := &browser{t, chromium(t, true), mine}
	b.open(mine + "/auth/login")
	b.submit("Sign in", map[string]string{"username": "ada", "password": goodPassword})
	b.at("/auth/profile", "ada")
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	control := elsewhere + "/a.js"
	b.open(elsewhere)

	paths := []string{control}
	for _, r := range routes(t, s.client()) {
		if r.has("GET") && !r.isAsset() && !strings.HasPrefix(r.pattern, "/{") {
			paths = append(paths, mine+r.path)
		}
	}
	list, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	const load = `(async urls => {
		const element = (tag, attribute, url) => new Promise(done => {
			const e = document.createElement(tag);
			if (tag === "link") e.rel = "stylesheet";
			e.onload = () => done(tag + " loaded"); e.onerror = () => done("refused");
			e[attribute] = url; document.body.append(e);
			if (tag === "object") setTimeout(() => done("refused"), 300);
		});
		const out = {};
		for (const url of urls) {
			out[url] = [
				await element("script", "src", url), await element("img", "src", url), await element("link", "href", url),
				await fetch(url, {mode: "no-cors", credentials: "include"}).then(r => "fetched " + r.type, () => "refused"),
				await fetch(url, {credentials: "include"}).then(r => "read " + r.status, () => "refused"),
			];
		}
		return out;
	})`
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[map[string][]string](load+"("+string(list)+")", chromedp.EvalAwaitPromise))
	if err != nil || len(got) < 4 {
		t.Fatalf("%v, %v", got, err)
	}
	if got[control][0] != "script loaded" || got[control][4] != "read 200" {
		t.Errorf("what may be loaded is not: %s", got[control])
	}
	delete(got, control)
	for url, results := range got {
		for _, r := range results {
			if r != "refused" {
				t.Errorf("%s: %s", url, results)
			}
		}
	}
	// The requests did come with the cookie: otherwise there is nothing to prove.
	s.logged(regexp.MustCompile(`"path":"[\\"]*/auth/session[\\"]*","status":(200)`))
}

// No page or document is given to a browser that wants it for something else than to
// show it, or on behalf of another site's script: neither to whoever is signed in nor
// to strangers. What sends none of these headers is no browser.
func TestASVS_3_2_1_NothingIsPartOfSomethingElse(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	c := s.setup()
	for _, r := range routes(t, s.client()) {
		if !r.has("GET") || r.isAsset() || strings.HasPrefix(r.pattern, "/{") || r.path == "/auth" || r.path == "/auth/" || r.path == "/" {
			continue
		}
		free := c.do("GET", r.path, "").StatusCode
		for _, embedded := range [][]string{
			{"Sec-Fetch-Dest", "script", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Site", "same-origin"},
			{"Sec-Fetch-Dest", "style"}, {"Sec-Fetch-Dest", "image"}, {"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate"},
			{"Sec-Fetch-Dest", "object"}, {"Sec-Fetch-Dest", "embed"},
			{"Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-site"},
		} {
			if a := c.do("GET", r.path, "", embedded...); a.StatusCode != 403 || !strings.Contains(a.body, "Cross-origin request") {
				t.Errorf("GET %s %q: %d, want 403", r.path, embedded, a.StatusCode)
			}
		}
		for _, alone := range [][]string{
			{"Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"}, // a link
			{"Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"},       // our script
		} {
			if strings.Contains(r.path, "/export.") && alone[5] == "cross-site" {
				continue // not even by a link: it is noted as an act of whom it meets
			}
			if a := c.do("GET", r.path, "", alone...); a.StatusCode != free {
				t.Errorf("GET %s %q: %d, want %d as without", r.path, alone, a.StatusCode, free)
			}
		}
	}
}
