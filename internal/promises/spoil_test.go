package promises_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
)

// onEachWritable runs a test on every place into which somebody may write behind
// the store's back.
func onEachWritable(t *testing.T, f func(t *testing.T, w *world, raw rawAccess)) {
	for name, at := range places {
		if name == "memory" {
			continue // whoever writes there needs no session
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := at(t)
			st, _ := here.open(t)
			f(t, newWorld(t, st, nil), here.raw)
		})
	}
}

// spoilt are the values that stand where a part of a record has been.
func spoilt(part string, value []byte) map[string][]byte {
	if slices.Contains(numberColumns, part) {
		bad := map[string][]byte{}
		for _, n := range []int64{0, -1, 99, 256, math.MinInt64, math.MaxInt64, math.MaxInt64 / 1000} {
			bad[fmt.Sprint(n)] = binary.BigEndian.AppendUint64(nil, uint64(n))
		}
		return bad
	}
	garbage := make([]byte, len(value)+7)
	for i := range garbage {
		garbage[i] = byte(rand.Uint32())
	}
	bad := map[string][]byte{
		"nothing": {}, "a byte": {1}, "garbage": garbage[:min(len(garbage), 255)], "JSON": []byte(`{"user":"admin"}`),
		"zeros": make([]byte, len(value)), "longer": append(bytes.Clone(value), 0),
	}
	if len(value) > 0 {
		later := bytes.Clone(value)
		later[0]++ // the version of its format, or the kind
		bad["half of it"], bad["all but the end"], bad["a later format"] = value[:len(value)/2], value[:len(value)-1], later
	}
	if len(value) > 1 {
		later := bytes.Clone(value)
		later[1]++
		bad["a later version"] = later
	}
	return bad
}

// Something stands in the store that is no session, half of one, or one of another
// version of the program: its visitor is nobody, or goes on if nothing that matters
// was hit, can sign in anew, and can be listed and ended. It is never an outage
// that lasts, nor another's session.
func TestAttack_A51_GarbageBehindTheStoresBack(t *testing.T) {
	t.Parallel()
	onEachWritable(t, func(t *testing.T, w *world, raw rawAccess) {
		user := w.fresh("u")
		other := w.signIn(t, w.fresh("other"))
		sound := raw.read(t, idOf(w.signIn(t, user)))
		for _, part := range slices.Sorted(maps.Keys(sound)) {
			for how := range spoilt(part, sound[part]) {
				user := w.fresh("u")
				cookie := w.signIn(t, user)
				raw.write(t, idOf(cookie), part, spoilt(part, raw.read(t, idOf(cookie))[part])[how])
				if err := w.survives(user, cookie); err != nil {
					t.Errorf("%s is %s: %v", part, how, err)
				}
			}
		}
		if c := w.read(t, 1, other); c.Values["first"] != "f" {
			t.Errorf("another's session: %+v", c)
		}
	})
}

// survives goes through a visit with a cookie whose record was spoilt.
func (w *world) survives(user, cookie string) error {
	a := w.do(request{method: "GET", path: "/me", cookie: cookie})
	if a.status != http.StatusUnauthorized && !a.ok() && a.detail() != "Session renewed" {
		return fmt.Errorf("a guarded page: %v", a)
	}
	c, err := w.do(request{method: "GET", path: "/read", cookie: cookie}).contents()
	if err != nil {
		return err
	}
	if whole := c.User == user && c.Values["first"] == "f"; !whole && (c.User != "" || len(c.Values) > 0) {
		return fmt.Errorf("half a session: %+v", c)
	}
	a = w.do(request{at: 1, method: "POST", path: "/login", cookie: cookie, form: url.Values{"user": {user}}})
	if !a.ok() || a.cookie == "" {
		return fmt.Errorf("signing in anew: %v", a)
	}
	for _, q := range []request{{method: "POST", path: "/update"}, {method: "GET", path: "/list"}, {method: "GET", path: "/me"}} {
		q.cookie = a.cookie
		if a := w.do(q); !a.ok() {
			return fmt.Errorf("the new session: %s: %v", q.path, a)
		}
	}
	for _, q := range []request{post("/admin/end", "id", idOf(cookie).String()), post("/admin/enduser", "user", user)} {
		if a := w.do(q); !a.ok() && a.detail() != "Session renewed" { // by the login
			return fmt.Errorf("%s: %v", q.path, a)
		}
	}
	for _, c := range []string{cookie, a.cookie} {
		if a := w.do(request{method: "GET", path: "/me", cookie: c}); a.status != http.StatusUnauthorized && a.detail() != "Session renewed" {
			return fmt.Errorf("after an end of all: %v", a)
		}
	}
	return nil
}

// One bit of what a store keeps is changed: the session is refused, or what it
// says is what its visitor has stored. It is never somebody else's, and never a
// value that nobody wrote.
func TestASVS_11_3_3_ChangedBits(t *testing.T) {
	t.Parallel()
	onEachWritable(t, func(t *testing.T, w *world, raw rawAccess) {
		user := w.fresh("u")
		cookie := w.signIn(t, user)
		w.must(t, request{method: "POST", path: "/update", cookie: cookie})
		want := w.read(t, 0, cookie)
		refused, id := 0, idOf(cookie)
		sound := raw.read(t, id)
		for part, value := range sound {
			bits := len(value) * 8
			step := 1 + bits/100
			if *prove {
				step = 1
			}
			for bit := rand.IntN(step); bit < bits; bit += step {
				changed := bytes.Clone(value)
				changed[bit/8] ^= 1 << (bit % 8)
				raw.write(t, id, part, changed)
				a := w.do(request{method: "GET", path: "/read", cookie: cookie, direct: true})
				got, err := a.contents()
				switch {
				case err != nil:
					t.Errorf("%s, bit %d: %v", part, bit, err)
				case got.User == "" && len(got.Values) == 0 && got.Count == 0:
					refused++
				case got.User != want.User || got.Count != want.Count || !maps.Equal(got.Values, want.Values):
					t.Errorf("%s, bit %d: %+v", part, bit, got)
				case part == "data" || part == "user_id" || part == "created" || part == "deadline":
					t.Errorf("%s, bit %d: not noticed", part, bit)
				}
			}
			raw.write(t, id, part, value)
		}
		if refused < 30 {
			t.Errorf("%d changes were refused", refused)
		}
		if c := w.read(t, 1, cookie); c.User != user {
			t.Errorf("put back, it is %+v", c)
		}
	})
}

// What is sealed in one record does not open in another: not of another user, not
// of another session of the same one, neither in parts nor as a whole. And nobody
// prolongs a session, or gives it to another user, by writing so into the store.
func TestASVS_11_3_3_SwappedRecords(t *testing.T) {
	t.Parallel()
	onEachWritable(t, func(t *testing.T, w *world, raw rawAccess) {
		victim, thief := w.fresh("victim"), w.fresh("thief")
		for _, from := range []string{victim, thief} { // whose the other session is
			mine := w.signIn(t, thief)
			theirs := w.must(t, post("/login", "user", from, "name", "theirs", "value", "t")).cookie
			before, taken := raw.read(t, idOf(mine)), raw.read(t, idOf(theirs))
			sets := [][]string{slices.Sorted(maps.Keys(before))}
			if _, ok := before["data"]; ok {
				sets = append(sets, []string{"data"}, []string{"info"}, []string{"data", "info"}, []string{"user_id"}, []string{"user_id", "data"},
					[]string{"user_id", "data", "info"}, []string{"user_id", "data", "info", "created", "deadline"})
			}
			for _, parts := range sets {
				harmless := true // nothing that is bound differs
				for _, p := range parts {
					harmless = harmless && (p == "info" || bytes.Equal(before[p], taken[p]))
					raw.write(t, idOf(mine), p, taken[p])
				}
				c, err := w.do(request{method: "GET", path: "/read", cookie: mine}).contents()
				if err != nil || c.Values["theirs"] != "" || c.User == victim || !harmless && c.User != "" {
					t.Errorf("%s's %v: %+v, %v", from, parts, c, err)
				}
				a := w.do(request{method: "POST", path: "/set", cookie: mine, form: url.Values{"name": {"n"}, "value": {"v"}}})
				if a.ok() && !harmless {
					t.Errorf("%s's %v takes a value", from, parts)
				}
				if a := w.do(request{method: "GET", path: "/list", cookie: theirs}); !a.ok() {
					t.Errorf("%s's %v: the list: %v", from, parts, a)
				}
				for p, value := range before {
					raw.write(t, idOf(mine), p, value)
				}
			}
			if c := w.read(t, 0, theirs); c.Values["theirs"] != "t" {
				t.Errorf("their session: %+v", c)
			}
		}
	})
}
