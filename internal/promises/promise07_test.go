package promises_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/cloakroom-dev/cloakroom"
)

// What a handler has committed itself is true, whatever becomes of the rest of
// its request: the answer carries the cookie of the new token, since the old one
// is nobody's already. Otherwise an outage would sign the visitor out.
func TestPromise07_CookieOfACommitSurvivesALaterFailure(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		for _, steps := range []string{"login,commit,set", "renew,commit,set", "login,commit,set,commit", "renew,commit,set,try"} {
			user := w.fresh("u")
			old := w.login(t, user, "")
			tr := w.trace()
			tr.gate = func(c *call) fault {
				if c.op == opUpdate {
					return refused
				}
				return nil
			}
			a := w.do(request{method: "POST", path: "/steps", cookie: old, trace: tr,
				form: url.Values{"do": {steps}, "user": {user}}})
			if a.cookie == "" || w.read(t, 1, a.cookie).User != user {
				t.Errorf("%s: the visitor is signed out: %v", steps, a)
			}
			if err := w.nobody(old); err != nil {
				t.Errorf("%s: %v", steps, err)
			}
			if a.ok() != (steps == "renew,commit,set,try") || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v %v", steps, a, a.header)
			}
		}
	})
}

// A session that somebody ends between two commits of one handler: the second
// one fails, and the answer sets no cookie of the first.
func TestPromise01_EndBetweenTwoCommits(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		for _, steps := range []string{
			"set,commit,stand,set", "set,commit,stand,set,commit", "set,commit,stand,set,try",
			"login,commit,stand,set", "login,commit,stand,set,try", "login,commit,stand,renew,try",
		} {
			tr := w.trace()
			tr.gate = func(c *call) fault {
				if c.op == opHandler && len(tr.created()) == 1 {
					if err := w.instances[1].m.End(context.Background(), tr.created()[0]); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			a := w.do(request{method: "POST", path: "/steps", trace: tr,
				form: url.Values{"do": {steps}, "slow": {"yes"}, "user": {w.fresh("u")}}})
			if a.err != nil || a.touchesCookie() || !a.ok() && a.status != http.StatusConflict {
				t.Errorf("%s: %v", steps, a)
			}
			for _, id := range tr.created() {
				if _, live := w.live(id); live {
					t.Errorf("%s: a session lives that was ended", steps)
				}
			}
		}
	})
}

// A handler that panics saves nothing, and whoever answers for it finds the
// header as it was, with the cookie of what the handler had committed itself.
func TestPromise07_PanicAfterCommit(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, st backend) {
		w := newWorld(t, st, nil)
		h := app(w.instances[0].m)
		play := func(cookie, steps string) (answer, []*http.Cookie) {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest("POST", "/steps?do="+steps+"&user=u", nil)
			r.Header.Set("Cookie", cloakroom.DefaultCookieName+"="+cookie)
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s did not panic", steps)
					}
				}()
				h.ServeHTTP(rec, r)
			}()
			http.Error(rec, "sorry", http.StatusInternalServerError)
			return answer{header: rec.Result().Header}, rec.Result().Cookies()
		}
		for _, steps := range []string{"set,panic", "renew,panic", "login,set,panic"} {
			old := w.login(t, "u", "")
			a, cookies := play(old, steps)
			if len(cookies) > 0 || a.header.Get(pageHeader) != "" || len(w.read(t, 1, old).Values) != 0 {
				t.Errorf("%s: %v %v", steps, a.header, w.read(t, 1, old))
			}
		}
		for _, steps := range []string{"renew,commit,panic", "login,set,commit,panic", "login,commit,set,panic"} {
			a, cookies := play(w.login(t, "u", ""), steps)
			if len(cookies) != 1 || a.header.Get(pageHeader) != "" || w.read(t, 1, cookies[0].Value).User != "u" {
				t.Errorf("%s: the visitor is signed out: %v", steps, a.header)
			}
		}
	})
}
