package auth_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/auth"
	"github.com/cloakroom-dev/cloakroom/password"
	"github.com/cloakroom-dev/cloakroom/throttle"
)

const newPassword = "staple battery horse correct"

// A user changes their password with the one that they have: from then on the new one
// signs in, the old one does not, this session goes on and all others have ended (ASVS
// 6.2.2, 6.2.3, 7.4.3), with stored sessions and sealed ones.
func TestASVS_7_4_3_AChangeOfPasswordEndsTheOtherSessions(t *testing.T) {
	for name, wrap := range kinds {
		for _, sealed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", sealed ", sealed), func(t *testing.T) {
				a := newHandler(t, &setup{wrap: wrap, sealed: sealed})
				one, two, bob := a.guest("192.0.2.1"), a.guest("192.0.2.2"), a.guest("192.0.2.3")
				a.signIn(t, one, "alice")
				a.signIn(t, two, "alice")
				a.signIn(t, bob, "bob")
				one.get("/note?set=milk")
				before := one.copy()
				r := one.change(rightPassword, newPassword)
				if r.StatusCode != 204 || one.token() == before.token() || one.token() == "" {
					t.Fatalf("%d %v %s", r.StatusCode, r.Header, r.body)
				}
				if n := strings.Count(fmt.Sprint(r.Header["Set-Cookie"]), cloakroom.DefaultCookieName+"="); n != 1 {
					t.Errorf("%d session cookies are set: %v", n, r.Header)
				}
				if r := one.get("/private"); r.StatusCode != 200 || one.get("/note").body != "milk" {
					t.Errorf("this session: %d", r.StatusCode)
				}
				if r := before.get("/private"); r.StatusCode != 409 || r.detail() != "Session renewed" {
					t.Errorf("the token of before: %d %s", r.StatusCode, r.body)
				}
				if r := two.get("/private"); r.StatusCode != 401 {
					t.Errorf("another session: %d", r.StatusCode)
				}
				if r := bob.get("/private"); r.StatusCode != 200 {
					t.Errorf("another user: %d", r.StatusCode)
				}
				if r := a.guest("192.0.2.4").login("alice", rightPassword); r.StatusCode != 401 {
					t.Errorf("the old password: %d", r.StatusCode)
				}
				if r := a.guest("192.0.2.4").login("alice", newPassword); r.StatusCode != 303 {
					t.Errorf("the new password: %d", r.StatusCode)
				}
				if !sealed {
					if n := a.sessions(t, "u1"); n != 2 { // this one and that of the last login
						t.Errorf("%d sessions are listed", n)
					}
				}
			})
		}
	}
}

// A change needs the current password, of whomever (ASVS 6.2.3). Without it nothing
// becomes of it: not a byte of the account, and the session stays.
func TestASVS_6_2_3_AChangeNeedsTheCurrentPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		g := a.guest("192.0.2.1")
		if r := g.change(rightPassword, newPassword); r.StatusCode != 401 || r.detail() != "Not authenticated" {
			t.Errorf("nobody: %d %s", r.StatusCode, r.body)
		}
		a.signIn(t, g, "alice")
		token, before := g.token(), a.users.users["u1"].User
		for _, current := range []string{"", "wrong", rightPassword + " ", strings.Repeat("x", 2000), newPassword} {
			r := g.change(current, newPassword)
			if r.StatusCode != 401 || r.detail() != "Invalid credentials" || !errors.Is(a.result, auth.ErrBadCredentials) || len(r.Cookies()) != 0 {
				t.Errorf("with %.20q: %d %s", current, r.StatusCode, r.body)
			}
		}
		if got := a.users.users["u1"].User; fmt.Sprint(got) != fmt.Sprint(before) || g.token() != token {
			t.Error("something has changed")
		}
		// Three of them were verified, and count with logins and re-authentications.
		g.reauth("wrong")
		g.change("wrong", newPassword)
		for name, r := range map[string]answer{
			"change": g.change(rightPassword, newPassword), "reauth": g.reauth(rightPassword),
			"login": a.guest("192.0.2.1").login("alice", rightPassword),
		} {
			if r.StatusCode != 429 || r.detail() != "Too many attempts" || r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
			}
		}
		time.Sleep(time.Hour)
		if r := g.login("alice", rightPassword); r.StatusCode != 303 {
			t.Errorf("an hour later: %d", r.StatusCode)
		}
	})
}

// Every pathway to a proof with a password has the same throttle, refuses the same
// users, does the same work and writes its line (ASVS 6.3.4; NIST SP 800-63B-4
// §3.1.1.2).
func TestASVS_6_3_4_EveryPathwayIsAsStrong(t *testing.T) {
	for name, path := range map[string]struct {
		try func(g *guest, pw string) answer
		ok  int
	}{
		"login":  {func(g *guest, pw string) answer { return g.login("alice", pw) }, 303},
		"reauth": {(*guest).reauth, 204},
		"change": {func(g *guest, pw string) answer { return g.change(pw, newPassword) }, 204},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				month := 30 * 24 * time.Hour
				a := newHandler(t, &setup{sessions: cloakroom.Options{IdleTimeout: month, Lifetime: month}})
				g := a.guest("192.0.2.1")
				g.mustLogin(t, "alice")
				a.log.take()
				a.hashes()
				for n := range throttle.DefaultFree {
					if r := path.try(g, "wrong"); r.StatusCode != 401 || r.detail() != "Invalid credentials" {
						t.Fatalf("attempt %d: %d %s", n+1, r.StatusCode, r.body)
					}
				}
				if n := a.hashes(); n != 5 {
					t.Errorf("%d hashes", n)
				}
				if r := path.try(g, rightPassword); r.StatusCode != 429 || a.hashes() != 0 {
					t.Errorf("throttled: %d %s", r.StatusCode, r.body)
				}
				refused, throttled := 0, 0
				for line := range strings.Lines(a.log.take()) {
					switch {
					case strings.Contains(line, `_refused"`) && strings.Contains(line, `"reason":"password"`) && strings.Contains(line, `"account":"u1"`):
						refused++
					case strings.Contains(line, `"throttled"`) && strings.Contains(line, `"account":"u1"`) && strings.Contains(line, `"addr":"192.0.2.1"`):
						throttled++
					default:
						t.Errorf("one line too many: %s", line)
					}
				}
				if refused != 5 || throttled != 1 {
					t.Errorf("%d lines of refusals, %d of throttled attempts", refused, throttled)
				}
				if r := g.get("/private"); r.StatusCode != 200 {
					t.Errorf("the session: %d", r.StatusCode)
				}
				// A lock is left when all delays are forgotten, and looks like a wrong
				// password.
				a.fail(t, "u1", "192.0.2.1", throttle.DefaultLock)
				time.Sleep(throttle.DefaultForget)
				a.log.take()
				if r := path.try(g, rightPassword); r.StatusCode != 401 || r.detail() != "Invalid credentials" || a.hashes() != 1 {
					t.Errorf("locked: %d %s", r.StatusCode, r.body)
				}
				if log := a.log.take(); strings.Count(log, "\n") != 1 || !strings.Contains(log, `"reason":"locked"`) {
					t.Errorf("log: %s", log)
				}
				a.users.change("u1", func(u *account) { u.Disabled = true })
				if r := path.try(g, rightPassword); r.StatusCode != 401 {
					t.Errorf("disabled: %d %s", r.StatusCode, r.body)
				}
			})
		})
	}
}

// Re-authentication: a new token, the old one nobody at once, everything else as it
// was (ASVS 7.2.4, 7.5.1, 7.5.3).
func TestPromise03_ReauthenticationChangesTheToken(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := newHandler(t, &setup{sealed: sealed})
			g := a.guest("192.0.2.1")
			a.signIn(t, g, "alice")
			g.get("/note?set=milk")
			time.Sleep(5*time.Minute - time.Second)
			if r := g.get("/recent"); r.StatusCode != 200 {
				t.Errorf("a moment before: %d", r.StatusCode)
			}
			time.Sleep(2 * time.Second)
			if r := g.get("/recent"); r.StatusCode != 401 || r.detail() != "Recent authentication required" {
				t.Errorf("after five minutes: %d %s", r.StatusCode, r.body)
			}
			before := g.copy()
			if r := g.reauth("wrong"); r.StatusCode != 401 || g.token() != before.token() || g.get("/recent").StatusCode != 401 {
				t.Errorf("a wrong password: %d %s", r.StatusCode, r.body)
			}
			if r := g.reauth(rightPassword); r.StatusCode != 204 || g.token() == before.token() {
				t.Fatalf("%d %s", r.StatusCode, r.body)
			}
			if r := before.get("/private"); r.StatusCode != 409 || len(r.Cookies()) != 0 {
				t.Errorf("the token of before: %d %v", r.StatusCode, r.Header)
			}
			if r := g.get("/recent"); r.StatusCode != 200 || g.get("/note").body != "milk" {
				t.Errorf("afterwards: %d", r.StatusCode)
			}
			if l := a.log.lines(t, "reauthenticated"); len(l) != 1 || l[0]["user"] != "u1" || l[0]["session"] == nil || l[0]["addr"] != "192.0.2.1" {
				t.Errorf("log: %v", l)
			}
			if !sealed {
				infos, err := a.m.List(t.Context(), "u1")
				if err != nil || len(infos) != 1 || infos[0].Method != "password" {
					t.Errorf("sessions: %+v, %v", infos, err)
				}
			}
			// Both deadlines start anew.
			for range 50 {
				time.Sleep(28 * time.Minute)
				if r := g.get("/private"); r.StatusCode != 200 {
					t.Fatalf("the session ended early: %d", r.StatusCode)
				}
			}
			if r := g.reauth(rightPassword); r.StatusCode != 204 {
				t.Fatalf("%d %s", r.StatusCode, r.body)
			}
			for range 50 {
				time.Sleep(28 * time.Minute)
				if r := g.get("/private"); r.StatusCode != 200 {
					t.Fatalf("the lifetime did not start anew: %d", r.StatusCode)
				}
			}
		})
	}
}

// A password change is a proof as well: AuthTime is new.
func TestPromise03_AChangeOfPasswordIsAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		g := a.guest("192.0.2.1")
		a.signIn(t, g, "alice")
		time.Sleep(6 * time.Minute)
		if r := g.change(rightPassword, newPassword); r.StatusCode != 204 || g.get("/recent").StatusCode != 200 {
			t.Errorf("%d %s", r.StatusCode, r.body)
		}
	})
}

// A refusal by the policy comes to who knows the current password and to nobody else,
// with its reason; it costs no attempt and changes nothing.
func TestNIST_3_1_1_2_blk3_ARefusalSaysWhy(t *testing.T) {
	a := newHandler(t, &setup{auth: auth.Options{Policy: &password.Policy{Context: []string{"Wardrobe Incorporated"}}}})
	a.users.change("u1", func(u *account) { u.Name = "alice.of.wonderland" })
	g := a.guest("192.0.2.1")
	if r := g.login("alice", rightPassword); r.StatusCode != 303 {
		t.Fatal(r.StatusCode)
	}
	token, hash := g.token(), a.users.hash("u1")
	for range 3 {
		for _, c := range []struct{ pw, reason string }{
			{"", "too_short"},
			{"fourteen chars", "too_short"},
			{strings.Repeat("long ", 300), "too_long"},
			{"wardrobe incorporated", "context"},
			{"Alice.of.Wonderland", "context"},
			{rightPassword, "unchanged"},
		} {
			a.log.take()
			r := g.change(rightPassword, c.pw)
			var refused *password.PolicyError
			if r.StatusCode != 422 || !errors.As(a.result, &refused) || string(refused.Reason) != c.reason {
				t.Errorf("%.20q: %d %v", c.pw, r.StatusCode, a.result)
			}
			want := fmt.Sprintf(`{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":%q,"reason":%q}`+"\n", refused, c.reason)
			if r.body != want || auth.Status(a.result) != 422 {
				t.Errorf("%.20q: %s", c.pw, r.body)
			}
			if l := a.log.lines(t, "password_refused"); len(l) != 1 || l[0]["reason"] != c.reason || l[0]["user"] != "u1" {
				t.Errorf("%.20q: log %v", c.pw, l)
			}
			if r := g.do("POST", "/change", map[string][]string{"current": {rightPassword}, "new": {c.pw}}, "Accept", "text/html"); r.StatusCode != 422 || !containsLine(r.body, "<p>"+refused.Error()+"</p>") {
				t.Errorf("%.20q: the page is %s", c.pw, r.body)
			}
			if r := g.change("", c.pw); r.StatusCode != 401 || strings.Contains(r.body, "reason") {
				t.Errorf("without the current one: %d %s", r.StatusCode, r.body)
			}
		}
	}
	if st, err := a.throttle.State(t.Context(), "u1"); err != nil || st.Failures != 0 || g.token() != token || a.users.hash("u1") != hash {
		t.Errorf("something has changed: %+v, %v", st, err)
	}
	for pw, want := range map[string]bool{"short": false, newPassword: true, "alice.of.wonderland": false} {
		if err := a.auth.CheckPassword(pw, auth.User{Name: "Alice.Of.Wonderland"}); (err == nil) != want {
			t.Errorf("CheckPassword(%q): %v", pw, err)
		}
	}
}

// The new password is the one that was typed, and all of it (ASVS 6.2.8): but for
// Unicode's canonical form.
func TestASVS_6_2_8_ANewPasswordIsTakenAsItIs(t *testing.T) {
	a := newHandler(t, &setup{auth: auth.Options{Throttle: patient(t, nil)}})
	g := a.guest("192.0.2.1")
	a.signIn(t, g, "alice")
	long := " " + strings.Repeat("Aé9 ", 24) // 121 bytes
	if r := g.change(rightPassword, long); r.StatusCode != 204 {
		t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	for _, pw := range []string{long[:72], long[:len(long)-1], long + "x", strings.TrimSpace(long), strings.ToLower(long), strings.ToUpper(long)} {
		if r := a.guest("192.0.2.1").login("alice", pw); r.StatusCode != 401 {
			t.Errorf("%q signs in", pw)
		}
	}
	for _, pw := range []string{long, strings.ReplaceAll(long, "é", "e\u0301")} {
		if r := a.guest("192.0.2.1").login("alice", pw); r.StatusCode != 303 {
			t.Errorf("%q: %d", pw, r.StatusCode)
		}
	}
	if r := g.change(long, strings.ReplaceAll(long, "é", "e\u0301")); r.StatusCode != 422 {
		t.Errorf("the same in another form: %d", r.StatusCode)
	}
}

// Of two changes at the same time one wins: its password is the user's, and whoever
// lost is told so and signed out.
func TestPromise02_TwoChangesAtOnce(t *testing.T) {
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				a := newHandler(t, &setup{wrap: wrap})
				var guests []*guest
				for i := range 3 {
					guests = append(guests, a.guest(fmt.Sprintf("192.0.2.%d", i)))
					a.signIn(t, guests[i], "alice")
				}
				status := make([]int, len(guests))
				var wg sync.WaitGroup
				for i, g := range guests {
					wg.Go(func() { status[i] = g.change(rightPassword, fmt.Sprint(newPassword, i)).StatusCode })
				}
				wg.Wait()
				won := -1
				for i := range guests {
					if r := a.guest("192.0.2.9").login("alice", fmt.Sprint(newPassword, i)); r.StatusCode == 303 {
						if won >= 0 {
							t.Error("two passwords are right")
						}
						won = i
					}
				}
				if won < 0 {
					t.Fatalf("no new password is right: %v", status)
				}
				for i, g := range guests {
					in := g.get("/private").StatusCode == 200
					if in && (i != won || status[i] != 204) || name == "ChangePassword" && !in && i == won {
						t.Errorf("%d: answer %d, signed in %t; %d has won", i, status[i], in, won)
					}
					if status[i] != 204 && status[i] != 409 && status[i] != 401 {
						t.Errorf("%d: %d", i, status[i])
					}
				}
			}
		})
	}
}

// What else happens to a user while their password is being changed.
func TestPromise01_AChangeOfPasswordAgainstOthers(t *testing.T) {
	old := "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U"
	for name, c := range map[string]struct {
		meanwhile func(a *app) // right before the write
		status    int
		in        bool   // is this session signed in afterwards?
		right     string // the password that signs in, "" for none
	}{
		"everybody is signed out":                        {func(a *app) { a.users.change("u1", func(u *account) { u.Epoch++ }) }, 409, false, ""},
		"somebody else changes it":                       {func(a *app) { a.users.change("u1", func(u *account) { u.Password, u.Epoch = old, u.Epoch+1 }) }, 409, false, ""},
		"the user is disabled":                           {func(a *app) { a.users.change("u1", func(u *account) { u.Disabled, u.Epoch = true, u.Epoch+1 }) }, 409, false, ""},
		"the user is removed":                            {func(a *app) { a.users.remove("u1") }, 409, false, ""},
		"a login hashes it anew":                         {func(a *app) { a.users.change("u1", func(u *account) { u.Password = otherHash() }) }, 204, true, newPassword},
		"it is hashed anew, and everybody is signed out": {func(a *app) { a.users.change("u1", func(u *account) { u.Password, u.Epoch = otherHash(), u.Epoch+1 }) }, 409, false, rightPassword},
		"a request comes in":                             {func(a *app) {}, 204, true, newPassword},
	} {
		for kind, wrap := range kinds {
			for _, sealed := range []bool{false, true} {
				t.Run(fmt.Sprint(name, ", ", kind, ", sealed ", sealed), func(t *testing.T) {
					a := newHandler(t, &setup{wrap: wrap, sealed: sealed})
					g := a.guest("192.0.2.1")
					a.signIn(t, g, "alice")
					parallel, done := g.copy(), false
					a.users.onSet = func(string, string) {
						if !done {
							done = true
							c.meanwhile(a)
							if r := parallel.get("/private"); r.StatusCode == 200 || len(r.Cookies()) != 0 {
								t.Errorf("a parallel request: %d %v", r.StatusCode, r.Header)
							}
						}
					}
					r := g.change(rightPassword, newPassword)
					a.users.onSet = nil
					if kind == "SetPassword" && name != "a request comes in" {
						// What comes after the second look is not seen before the write.
						if r.StatusCode == 204 && g.get("/private").StatusCode == 200 && name != "a login hashes it anew" {
							t.Errorf("%d, and the session lives", r.StatusCode)
						}
						return
					}
					if r.StatusCode != c.status || (g.get("/private").StatusCode == 200) != c.in {
						t.Errorf("%d %s, and then %d", r.StatusCode, r.body, g.get("/private").StatusCode)
					}
					if c.status == 409 && (r.detail() != "Session ended" || !errors.Is(a.result, cloakroom.ErrEnded)) {
						t.Errorf("%v: %s", a.result, r.body)
					}
					if c.right != "" {
						if r := a.guest("192.0.2.1").login("alice", c.right); r.StatusCode != 303 {
							t.Errorf("login: %d", r.StatusCode)
						}
					}
				})
			}
		}
	}
}

// otherHash is another hash of rightPassword.
var otherHash = sync.OnceValue(func() string { return hashOf(rightPassword) })

// A login with the old password that was read before the change yields nothing.
func TestPromise01_AChangeOfPasswordAgainstALogin(t *testing.T) {
	a := newHandler(t, &setup{wrap: kinds["ChangePassword"]})
	g, slow := a.guest("192.0.2.1"), a.guest("192.0.2.2")
	a.signIn(t, g, "alice")
	a.users.afterName = func(auth.User) {
		if r := g.change(rightPassword, newPassword); r.StatusCode != 204 {
			t.Errorf("change: %d %s", r.StatusCode, r.body)
		}
	}
	if r := slow.login("alice", rightPassword); r.StatusCode != 303 {
		t.Errorf("the race did not happen: %d", r.StatusCode)
	}
	if r := slow.get("/private"); r.StatusCode != 401 {
		t.Errorf("the slow login is signed in: %d", r.StatusCode)
	}
	if r := g.get("/private"); r.StatusCode != 200 {
		t.Errorf("who changed it: %d", r.StatusCode)
	}
}

// A session that is renewed while its user changes the password, or proves who they
// are, goes on under the token of who renewed it, and nothing was changed.
func TestPromise03_AProofAgainstARenewal(t *testing.T) {
	for name, try := range map[string]func(g *guest) answer{
		"change": func(g *guest) answer { return g.change(rightPassword, newPassword) },
		"reauth": func(g *guest) answer { return g.reauth(rightPassword) },
	} {
		for _, sealed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", sealed ", sealed), func(t *testing.T) {
				a := newHandler(t, &setup{sealed: sealed})
				g := a.guest("192.0.2.1")
				a.signIn(t, g, "alice")
				g.get("/note?set=milk")
				other, busy := g.copy(), false
				a.users.afterID = func(auth.User) {
					if busy {
						return
					}
					busy = true
					a.users.change("u1", func(u *account) { u.Roles = []string{"admin"} })
					if r := other.get("/private"); r.StatusCode != 200 || other.token() == g.token() {
						t.Errorf("the race did not happen: %d", r.StatusCode)
					}
				}
				r := try(g)
				a.users.afterID = nil
				if r.StatusCode != 409 || r.detail() != "Session renewed" || len(r.Cookies()) != 0 {
					t.Errorf("%d %v %s", r.StatusCode, r.Header, r.body)
				}
				if r := other.get("/private"); r.StatusCode != 200 || other.get("/note").body != "milk" {
					t.Errorf("who renewed it: %d", r.StatusCode)
				}
				if r := a.guest("192.0.2.1").login("alice", rightPassword); r.StatusCode != 303 {
					t.Errorf("the password: %d", r.StatusCode)
				}
			})
		}
	}
}

// Passwords do not grow old (ASVS 6.2.10; NIST SP 800-63B-4 §3.1.1.2).
func TestASVS_6_2_10_APasswordIsGoodUntilItIsKnownToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHandler(t, nil)
		time.Sleep(10 * 365 * 24 * time.Hour)
		g := a.guest("192.0.2.1")
		g.mustLogin(t, "alice")
		if r := g.get("/private"); r.StatusCode != http.StatusOK {
			t.Errorf("ten years later: %d", r.StatusCode)
		}
	})
}

// What raises the epoch while a proof computes its hash wins: the session that the
// proof would renew has ended.
func TestPromise01_AProofAgainstEnding(t *testing.T) {
	for name, try := range map[string]func(g *guest) answer{
		"change": func(g *guest) answer { return g.change(rightPassword, newPassword) },
		"reauth": func(g *guest) answer { return g.reauth(rightPassword) },
	} {
		for _, sealed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", sealed ", sealed), func(t *testing.T) {
				a := newHandler(t, &setup{sealed: sealed})
				g := a.guest("192.0.2.1")
				a.signIn(t, g, "alice")
				raised := false
				a.users.afterID = func(auth.User) {
					if !raised {
						raised = true
						a.users.change("u1", func(u *account) { u.Epoch++ })
					}
				}
				r := try(g)
				a.users.afterID = nil
				if a.users.hash("u1") != rightHash() {
					t.Error("the password was changed for a session that had ended")
				}
				if got := g.get("/private"); got.StatusCode == 200 || name == "change" && r.StatusCode != 409 {
					t.Errorf("%d, and then %d", r.StatusCode, got.StatusCode)
				}
			})
		}
	}
}
