package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// RaiseEpochFrom gives a test the moment right after it.
func (a *accounts) RaiseEpochFrom(ctx context.Context, id string, epoch uint64) (bool, error) {
	raised, err := a.Users.RaiseEpochFrom(ctx, id, epoch)
	if a.raised != nil {
		a.raised()
	}
	return raised, err
}

// An end of all other sealed sessions, with another request of the same page in its
// middle, leaves this one. Another browser is sent to sign in, and gets there.
func TestPromise09_EndOthersOfSealedSessions(t *testing.T) {
	w := newWorldOver(t, true)
	other := w.cookie
	w.cookie = nil
	res := w.do("POST", "/auth/login", `{"username":"ada","password":"`+goodPassword+`"}`, false)
	w.cookie = sessionCookie(res)
	page := w.do("GET", "/auth/sessions", "", true)
	token := regexp.MustCompile(`name="csrf_token" value="([^"]+)"`).FindStringSubmatch(page.Body.String())
	if token == nil {
		t.Fatalf("no token: %d %s", page.Code, page.Body)
	}
	w.users.raised = func() {
		if res := w.do("GET", "/auth/profile", "", true); res.Code != http.StatusSeeOther || len(res.Result().Cookies()) != 0 {
			t.Errorf("in the middle the answer is %d and sets %v", res.Code, res.Result().Cookies())
		}
	}
	r := httptest.NewRequest("POST", "/auth/sessions/end-others", strings.NewReader("csrf_token="+token[1]))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	r.AddCookie(w.cookie)
	end := httptest.NewRecorder()
	w.handler.ServeHTTP(end, r)
	cookies := end.Result().Cookies()
	own := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == w.cookie.Name })
	if end.Code != http.StatusSeeOther || own < 0 {
		t.Fatalf("the end of others is answered %d %s and sets %v", end.Code, end.Body, cookies)
	}
	w.cookie = cookies[own]
	if res := w.do("GET", "/auth/profile", "", true); res.Code != http.StatusOK {
		t.Errorf("afterwards this session is answered %d", res.Code)
	}
	w.cookie = other
	if res := w.do("GET", "/auth/profile", "", true); res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), "/auth/login") {
		t.Errorf("afterwards another is answered %d %v", res.Code, res.Header())
	}
	if res := w.do("GET", "/auth/login?next=/auth/profile", "", true); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `name="password"`) {
		t.Errorf("the login page is answered %d %v", res.Code, res.Header())
	}
}
