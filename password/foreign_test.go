package password_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/cloakroom-dev/cloakroom/password"
)

// vector is a hash that another program wrote.
type vector struct {
	Source, Scheme, Password, Hash, Note string
	Verifies                             bool
}

// usable tells whether the hash is of a kind that is verified.
func (v vector) usable() bool {
	return v.Source != "hostile" && v.Scheme != "apr1" && v.Scheme != "{SHA}"
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/password_hashes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 157 {
		t.Fatalf("%d vectors", len(file.Vectors))
	}
	return file.Vectors
}

// fewer leaves of vectors, for slow computations, the first of each scheme that
// verifies and the first that does not. Hostile ones stay.
func fewer(all []vector) []vector {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(v vector) bool {
		kind := fmt.Sprint(v.Source, v.Scheme, v.Verifies)
		skip := seen[kind] && v.usable()
		seen[kind] = true
		return skip
	})
}

// What passlib, Django, Werkzeug and htpasswd wrote lets the same passwords in,
// and wants to be made anew; what is weak or hostile lets nobody in, whatever the
// password, and costs what every unusable hash costs.
func TestHashesOfOtherPrograms(t *testing.T) {
	h := newHasher(t, nil)
	all := vectors(t)
	if slow {
		all = fewer(all)
	}
	for _, v := range all {
		ok, err := h.Verify(ctx, v.Hash, v.Password)
		if err != nil || ok != (v.Verifies && v.usable()) {
			t.Errorf("%s %s: %s with %q: %t, %v", v.Source, v.Scheme, v.Hash, v.Password, ok, err)
		}
		if got := h.Check(v.Hash) == nil; got != v.usable() {
			t.Errorf("%s: %s: usable is %t (%v)", v.Source, v.Hash, got, h.Check(v.Hash))
		}
		if got := password.Recognized(v.Hash); got != v.usable() {
			t.Errorf("%s: %s: recognized is %t", v.Source, v.Hash, got)
		}
		if v.Hash != "" && !h.NeedsRehash(v.Hash) {
			t.Errorf("%s: %s needs no rehash", v.Source, v.Hash)
		}
	}
}

// Forms and lengths that the recorded hashes do not have.
func TestHashesComputedByOthers(t *testing.T) {
	b, err := os.ReadFile("testdata/computed_hashes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 48 {
		t.Fatalf("%d vectors", len(file.Vectors))
	}
	h := newHasher(t, nil)
	for _, v := range file.Vectors {
		wrong := []string{v.Password + "x", v.Password[1:], v.Password + "\x00" + v.Password}
		if slow {
			wrong = wrong[:1]
		}
		for _, pw := range append(wrong, v.Password) {
			if pw == "" {
				continue
			}
			if ok, err := h.Verify(ctx, v.Hash, pw); err != nil || ok != (pw == v.Password) {
				t.Errorf("%s with %q: %t, %v (%v)", v.Hash, pw, ok, err, h.Check(v.Hash))
			}
		}
	}
}

// bcrypt looks at 72 bytes, and a NUL makes one password look like another. What
// it would take for the same is refused, after the same work.
func TestAttack_A20_BcryptSeesTheWholePasswordOrNone(t *testing.T) {
	h := newHasher(t, nil)
	var seen []string
	h.WrapForeign(func(f func(string) bool) func(string) bool {
		return func(pw string) bool { seen = append(seen, pw); return f(pw) }
	})
	for _, pw := range []string{strings.Repeat("a", 72), strings.Repeat("é", 36), "short"} {
		b, err := bcrypt.GenerateFromPassword([]byte(pw), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		hash := string(b)
		if ok, err := h.Verify(ctx, hash, pw); !ok || err != nil {
			t.Fatalf("%q: %t, %v", pw, ok, err)
		}
		for _, other := range []string{
			pw + "junk", pw + strings.Repeat("b", 100), pw + pw,
			pw + "\x00", pw + "\x00" + pw, pw + "\x00x",
		} {
			seen = nil
			if ok, err := h.Verify(ctx, hash, other); ok || err != nil {
				t.Errorf("the hash of %q lets %q in: %t, %v", pw, other, ok, err)
			}
			if len(seen) != 1 {
				t.Errorf("%q: %d computations", other, len(seen))
			}
		}
	}
}

// Bounds hold before any work is done, for every form.
func TestAttack_A21_StoredHashesAreBounded(t *testing.T) {
	h := newHasher(t, nil)
	calls := record(h)
	h.WrapForeign(func(func(string) bool) func(string) bool {
		return func(string) bool { t.Error("it was computed"); return true }
	})
	const (
		key20, key32 = "VlgP3PG3YX0D2TU/KwW3jWAZzac", "wxTYJCIgBKSf0NEsDj3sUQBuJ.ePYeZgJYHjZOmkGIQ"
		hex32        = "a097a7fdd193987a01058cc0d050cc31e9b554745c56a1dce4546597ddcabb3d"
		crypt22      = "LrmaIX5x4TRtAwEfwJZa1."
		crypt31      = "S3bdVJVuej4mR5y.L3.l2hAuefpLwge"
	)
	for _, stored := range []string{
		"$2b$15$" + crypt22 + crypt31, "$2b$03$" + crypt22 + crypt31, "$2b$4$" + crypt22 + crypt31, "$2b$00$" + crypt22 + crypt31,
		"$2b$1e$" + crypt22 + crypt31, "$2b$+4$" + crypt22 + crypt31, "$2x$10$" + crypt22 + crypt31, "$2$10$" + crypt22 + crypt31,
		"$2b$10$" + crypt22 + crypt31 + "x", "$2b$10$" + crypt22 + crypt31[1:] + "=", "$2b$10$" + crypt22 + crypt31[2:] + "é",
		"bcrypt$" + crypt22, "bcrypt$$2b$31$" + crypt22 + crypt31, "bcrypt_sha256$$2x$10$" + crypt22 + crypt31,
		"$bcrypt-sha256$v=3,t=2b,r=10$" + crypt22 + "$" + crypt31, "$bcrypt-sha256$v=2,t=2x,r=10$" + crypt22 + "$" + crypt31,
		"$bcrypt-sha256$v=2,t=2b,r=99$" + crypt22 + "$" + crypt31, "$bcrypt-sha256$2b$" + crypt22 + "$" + crypt31,
		"$bcrypt-sha256$v=2,t=2b,r=10$" + crypt22[1:] + "$" + crypt31 + "a", "$bcrypt-sha256$2b,$" + crypt22 + "$" + crypt31,
		"$pbkdf2-sha256$2500001$3fs/5xzj3BsDACBkTOldiw$" + key32, "$pbkdf2-sha256$0$3fs/5xzj3BsDACBkTOldiw$" + key32,
		"$pbkdf2-sha256$-1$3fs/5xzj3BsDACBkTOldiw$" + key32, "$pbkdf2-sha256$18446744073709551617$3fs/5xzj3BsDACBkTOldiw$" + key32,
		"$pbkdf2-sha256$29000$3fs$" + key32, "$pbkdf2-sha256$29000$3fs/5xzj3BsDACBkTOldiw$" + key20,
		"$pbkdf2$29000$3fs/5xzj3BsDACBkTOldiw$" + key32, "$pbkdf2-sha512$29000$3fs/5xzj3BsDACBkTOldiw$" + key32,
		"$pbkdf2-sha256$29000$3fs/5xzj3BsDACBkTOldiw$" + key32 + "$", "$pbkdf2-md5$29000$3fs/5xzj3BsDACBkTOldiw$" + key32,
		"pbkdf2_sha256$99999999$saltsalt$mXLvfvwfLS8S1afC5Tntnjv5ppAB5ECSYTdVF0fkyNw=",
		"pbkdf2_sha256$1000$$mXLvfvwfLS8S1afC5Tntnjv5ppAB5ECSYTdVF0fkyNw=",
		"pbkdf2_sha256$1000$" + strings.Repeat("s", 65) + "$mXLvfvwfLS8S1afC5Tntnjv5ppAB5ECSYTdVF0fkyNw=",
		"pbkdf2_md5$1000$saltsalt$mXLvfvwfLS8S1afC5Tntnjv5ppAB5ECSYTdVF0fkyNw=",
		"pbkdf2:sha256$saltsalt$" + hex32, "pbkdf2:md5:1000$saltsalt$" + hex32, "pbkdf2:sha256:9999999999$saltsalt$" + hex32,
		"pbkdf2:sha256:1000$saltsalt$" + hex32[2:], "pbkdf2:sha256:1000$saltsalt$zz" + hex32[2:], "pbkdf2:sha256:1000:1$saltsalt$" + hex32,
		"scrypt:4194304:8:1$saltsalt$" + hex32, "scrypt:32769:8:1$saltsalt$" + hex32, "scrypt:0:8:1$saltsalt$" + hex32,
		"scrypt:32768:0:1$saltsalt$" + hex32, "scrypt:32768:8:0$saltsalt$" + hex32, "scrypt:32768:8:65$saltsalt$" + hex32,
		"scrypt:2:4294967295:1$saltsalt$" + hex32, "scrypt:2:64:4294967295$saltsalt$" + hex32, "scrypt:262144:8:1$saltsalt$" + hex32,
		"scrypt:131072:8:3$saltsalt$" + hex32, "scrypt:32768:8:1$salt$" + hex32, "scrypt:32768:8:1$saltsalt$" + hex32[:30],
		"scrypt:32768:8:1$saltsalt$" + strings.Repeat("00", 65), "scrypt:32768:8$saltsalt$" + hex32, "scrypt:1:8:1$saltsalt$" + hex32,
		"$scrypt$ln=31,r=8,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA", "$scrypt$ln=0,r=8,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
		"$scrypt$ln=64,r=8,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA", "$scrypt$r=8,p=1,ln=15$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
		"scrypt$16384$saltsalt$8$5", "scrypt$16384$saltsalt$8$99$aGFzaGhhc2hoYXNoaGFzaA==", "scrypt$9$saltsalt$8$5$aGFzaGhhc2hoYXNoaGFzaA==",
		"$5$rounds=999$saltsalt$jctHugVgQVOu4NqE5AhOfGx4yfqXFnC6B32FK7hjBy8", "$5$rounds=1000001$saltsalt$jctHugVgQVOu4NqE5AhOfGx4yfqXFnC6B32FK7hjBy8",
		"$5$rounds=$saltsalt$jctHugVgQVOu4NqE5AhOfGx4yfqXFnC6B32FK7hjBy8", "$5$rounds=5000", "$5$", "$6$saltsalt",
		"$5$salt$jctHugVgQVOu4NqE5AhOfGx4yfqXFnC6B32FK7hjBy8", "$5$saltsaltsaltsaltx$jctHugVgQVOu4NqE5AhOfGx4yfqXFnC6B32FK7hjBy8",
		"$5$saltsalt$jctHugVgQVOu4NqE5AhOfGx4yfqXFnC6B32FK7hjBy", "$6$saltsalt$jctHugVgQVOu4NqE5AhOfGx4yfqXFnC6B32FK7hjBy8",
		"argon2$argon2d$v=19$m=512,t=2,p=2$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "argon2$$argon2id$v=19$m=512,t=2,p=2$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"argon2$argon2id$v=19$m=512,t=4294967295,p=2$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "argon2$2b$10$" + crypt22 + crypt31,
		"$argon2i$v=19$m=4194304,t=2,p=2$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$2b$10$" + strings.Repeat("a", 1<<20),
	} {
		*calls = nil
		if ok, err := h.Verify(ctx, stored, "any"); ok || err != nil || len(*calls) != 1 {
			t.Errorf("%.90s: %t, %v after %d computations", stored, ok, err, len(*calls))
		}
		if err := h.Check(stored); err == nil || !h.NeedsRehash(stored) {
			t.Errorf("%.90s is usable", stored)
		}
	}
	// What fits into other Hashers than this is known, and no use here.
	large := "scrypt:262144:8:1$saltsalt$" + hex32
	if n, err := password.Needs(large); n != 256<<10 || !password.Recognized(large) {
		t.Errorf("%d KiB, %v", n, err)
	}
}

// The time of SHA-crypt grows with the password, which is whose who wants in.
func TestAttack_A21_SHACryptTakesNoEndlessPasswords(t *testing.T) {
	h := newHasher(t, nil)
	stored := "$5$rounds=1000$saltsalt$" + password.SHA256Crypt(strings.Repeat("a", 256), "saltsalt", 1000)
	for n, want := range map[int]bool{255: false, 256: true, 257: false, 1024: false} {
		if ok, err := h.Verify(ctx, stored, strings.Repeat("a", n)); ok != want || err != nil {
			t.Errorf("%d bytes: %t, %v", n, ok, err)
		}
	}
}

// The pool counts what the hashes of others need.
func TestAttack_A21_MemoryOfScryptIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, &password.Options{Parallel: 4, Memory: 128 << 10, Wait: time.Hour})
		var running, most atomic.Int32
		h.WrapForeign(func(func(string) bool) func(string) bool {
			return func(string) bool {
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				return true
			}
		})
		for _, v := range []struct {
			hash string
			most int32
		}{
			{"scrypt:131072:8:1$saltsalt$a097a7fdd193987a01058cc0d050cc31", 1}, // 128 MiB each
			{"scrypt:32768:8:1$saltsalt$a097a7fdd193987a01058cc0d050cc31", 4},  // 32
			{"scrypt:65536:8:1$saltsalt$a097a7fdd193987a01058cc0d050cc31", 2},  // 64
			{"$2b$10$LrmaIX5x4TRtAwEfwJZa1.S3bdVJVuej4mR5y.L3.l2hAuefpLwge", 4},
		} {
			most.Store(0)
			var wg sync.WaitGroup
			for range 12 {
				wg.Go(func() {
					if _, err := h.Verify(ctx, v.hash, "x"); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if most.Load() != v.most {
				t.Errorf("%s: %d at a time, want %d", v.hash, most.Load(), v.most)
			}
		}
	})
}

// FuzzStoredHash looks for a stored hash that is taken outside the bounds, or
// that makes its reader panic.
func FuzzStoredHash(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Hash)
	}
	for _, s := range badPHC {
		f.Add(s)
	}
	f.Add("scrypt$16384$saltsaltsalt$8$5$aGFzaGhhc2hoYXNoaGFzaA==")
	f.Fuzz(func(t *testing.T, s string) {
		need, err := password.Needs(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 120 {
				t.Errorf("error of %q is %q", s, err)
			}
			return
		}
		if need == 0 || need > 256<<10 || len(s) > 256 || !password.Recognized(s) {
			t.Errorf("%q needs %d KiB", s, need)
		}
	})
}
