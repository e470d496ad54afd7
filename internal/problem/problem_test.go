package problem_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/problem"
)

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

func request(method string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/private?secret=canary", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func TestWantsHTML(t *testing.T) {
	for _, c := range []struct {
		accept string
		want   bool
	}{
		{"", false},
		{"*/*", false},
		{browser, true},
		{"application/json", false},
		{"application/problem+json", false},
		{"text/html", true},
		{"TEXT/HTML ; charset=utf-8", true},
		{"text/*", true},
		{"application/*", false},
		{"image/png", false},
		{"text/html, application/json", false},
		{"application/json, text/html", false},
		{"text/html;q=0.5, application/json", false},
		{"text/html, application/json;q=0.9", true},
		{"text/html, */*", true},
		{"text/html, application/*", true},
		{"text/html;q=0.8, */*;q=0.9", false},
		{"text/html;q=0", false},
		{"text/html;q=0, */*", false},
		{"text/html;q=0.001", true},
		{"text/html;Q=0.001, application/json;q=0", true},
		{"text/html;q=1.001, */*;q=0.1", false},
		{"text/html;q=NaN, */*;q=0.1", false},
		{"text/html;q=1e3, application/json;q=0.1", false},
		{"text/html;q=, application/json;q=0.1", false},
		{"text/html;q=0.1234, application/json;q=0.1", false},
		{"text/html;level=1;q=0.4, application/json;q=0.3", true},
		{"*/*, text/html;q=0.2", false}, // the precise range counts, and it is the lesser
		{"application/json;q=0.2, */*", true},
		{",,;;q=1,text/html,", true},
	} {
		if got := problem.WantsHTML(request("GET", "Accept", c.accept)); got != c.want {
			t.Errorf("Accept: %s: WantsHTML is %t, want %t", c.accept, got, c.want)
		}
	}
	if problem.WantsHTML(request("GET", "User-Agent", "Mozilla/5.0")) {
		t.Error("User-Agent decided what is read")
	}
	if !problem.WantsHTML(request("GET", "Accept", "application/json;q=0.1", "Accept", "text/html")) {
		t.Error("the second line of Accept was not read")
	}
}

func TestNavigation(t *testing.T) {
	for _, c := range []struct {
		method, accept, mode, dest string
		want                       bool
	}{
		{"GET", browser, "", "", true},
		{"HEAD", browser, "", "", true},
		{"GET", browser, "navigate", "document", true},
		{"GET", browser, "navigate", "iframe", true},
		{"GET", browser, "navigate", "frame", true},
		{"GET", browser, "navigate", "embed", false},
		{"GET", browser, "navigate", "object", false},
		{"GET", browser, "cors", "empty", false},
		{"GET", browser, "no-cors", "image", false},
		{"GET", browser, "same-origin", "", false},
		{"GET", browser, "websocket", "websocket", false},
		{"POST", browser, "navigate", "document", false},
		{"get", browser, "navigate", "document", false},
		{"GET", "*/*", "navigate", "document", false},
		{"GET", "", "", "", false},
	} {
		r := request(c.method, "Accept", c.accept)
		if c.mode != "" {
			r.Header.Set("Sec-Fetch-Mode", c.mode)
		}
		if c.dest != "" {
			r.Header.Set("Sec-Fetch-Dest", c.dest)
		}
		if got := problem.Navigation(r); got != c.want {
			t.Errorf("%+v: Navigation is %t", c, got)
		}
	}
}

func TestWriteForAProgram(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("ETag", `"x"`)
	w.Header().Set("Retry-After", "1")
	problem.Write(w, request("POST"), http.StatusForbidden, problem.Forbidden)

	res := w.Result()
	want := map[string]string{
		"Content-Type": "application/problem+json", "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff", "Vary": "Accept", "Retry-After": "1",
		"Content-Length":   strconv.Itoa(w.Body.Len()),
		"Content-Encoding": "", "ETag": "",
	}
	for name, v := range want {
		if got := res.Header.Get(name); got != v {
			t.Errorf("%s is %q, want %q", name, got, v)
		}
	}
	var doc map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 403 || len(doc) != 4 || doc["type"] != "about:blank" || doc["title"] != "Forbidden" ||
		doc["status"] != 403.0 || doc["detail"] != "Forbidden" {
		t.Errorf("%d %v", res.StatusCode, doc)
	}
}

func TestWriteForABrowser(t *testing.T) {
	w := httptest.NewRecorder()
	problem.Write(w, request("GET", "Accept", browser), http.StatusUnauthorized, `<script>"`)
	body := w.Body.String()
	if w.Code != 401 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("%d %s", w.Code, w.Header().Get("Content-Type"))
	}
	if !strings.Contains(body, "Unauthorized") || strings.Contains(body, "<script>") || !strings.Contains(body, "&lt;script&gt;") {
		t.Errorf("page: %s", body)
	}
	if !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("the page may load things")
	}
}

func TestASVS_16_5_1_AnAnswerRepeatsNothingOfTheRequest(t *testing.T) {
	for _, accept := range []string{browser, "application/json"} {
		w := httptest.NewRecorder()
		problem.Write(w, request("GET", "Accept", accept), http.StatusServiceUnavailable, problem.Unavailable)
		if strings.Contains(w.Body.String(), "private") || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%s", w.Body)
		}
	}
}

func TestHeadHasTheHeaderAndNoBody(t *testing.T) {
	get, head := httptest.NewRecorder(), httptest.NewRecorder()
	problem.Write(get, request("GET"), http.StatusConflict, problem.SessionRenewed)
	problem.Write(head, request("HEAD"), http.StatusConflict, problem.SessionRenewed)
	if head.Body.Len() != 0 || head.Code != get.Code {
		t.Errorf("HEAD: %d with %d bytes", head.Code, head.Body.Len())
	}
	if g, h := get.Header().Get("Content-Length"), head.Header().Get("Content-Length"); g != h || g == "" {
		t.Errorf("Content-Length of GET is %q, of HEAD %q", g, h)
	}
}

func TestAStatusWithoutAName(t *testing.T) {
	w := httptest.NewRecorder()
	problem.Write(w, request("GET"), 599, "")
	if got := w.Body.String(); !strings.Contains(got, `"title":"Status 599"`) || strings.Contains(got, "detail") {
		t.Errorf("%s", got)
	}
}

// An answer that says why has the reason for programs and its words for people, of one
// shape with all others.
func TestAnswersThatSayWhy(t *testing.T) {
	a := problem.Answer{Status: 422, Detail: "The password is too short", Reason: "too_short"}
	w := httptest.NewRecorder()
	a.Write(w, request("POST"))
	if want := `{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"The password is too short","reason":"too_short"}` + "\n"; w.Code != 422 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	a.Words = "Take <more> characters."
	for accept, want := range map[string]string{"application/json": `"detail":"The password is too short"`, browser: "<p>Take &lt;more&gt; characters.</p>"} {
		w := httptest.NewRecorder()
		a.Write(w, request("POST", "Accept", accept))
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %s", accept, w.Body)
		}
	}
}
