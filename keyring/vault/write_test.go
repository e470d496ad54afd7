package vault_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

// newest returns the fields of the newest version, and how many versions there are.
func (f *fake) newest() (map[string]any, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.versions[len(f.versions)-1], len(f.versions)
}

// Write changes its own field; the others, whatever they are, stay as they are.
func TestWriteKeepsOtherFields(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	f.put(map[string]any{
		"keys": keys, "password": neighbour, "big": json.Number("12345678901234567890"), "float": json.Number("1.0"),
		"none": nil, "list": []any{"a", true}, "deep": map[string]any{"<&>": "ü\u2028"},
	})
	before, _ := f.newest()
	s := f.open(query["approle"])
	old, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.requests()
	text := keyring.Generate().Text() + "\n# <&>\n"
	if err := s.Write(t.Context(), old, []byte(text)); err != nil {
		t.Fatal(err)
	}
	f.asked(get, put)
	after, n := f.newest()
	if n != 3 || after["keys"] != text {
		t.Errorf("version %d, written as sent: %v", n, after["keys"] == text)
	}
	after["keys"] = keys
	if !reflect.DeepEqual(before, after) {
		t.Errorf("other fields:\nbefore %#v\nafter  %#v", before, after)
	}
}

// Whoever comes second learns so, be it before Write looks or after.
func TestWriteComparesAndSets(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["token"])
	old, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	theirs := keyring.Generate().Text()
	f.put(map[string]any{"keys": theirs})
	f.requests()
	if err := s.Write(t.Context(), old, []byte("mine")); !errors.Is(err, keyring.ErrChanged) {
		t.Errorf("Write of what has changed: %v", err)
	}
	f.asked(get)

	// Another version comes between the look and the write.
	f.do(func() {
		f.hook = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				f.put(map[string]any{"keys": theirs, "theirs": "too"})
			}
			return false
		}
	})
	if err := s.Write(t.Context(), []byte(theirs), []byte("mine")); !errors.Is(err, keyring.ErrChanged) {
		t.Errorf("Write of what has changed on the way: %v", err)
	}
	if now, n := f.newest(); n != 3 || now["theirs"] != "too" {
		t.Errorf("version %d: %v", n, now)
	}
}

// Of many who change the keys at once, all do.
func TestWritersAtOnce(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	var group sync.WaitGroup
	for range 4 {
		s := f.open(query["approle"])
		group.Go(func() {
			_, err := keyring.Edit(t.Context(), s, func(k []keyring.Key) ([]keyring.Key, error) {
				return append(k, keyring.Generate().AsNext()), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	ring, err := keyring.Load(t.Context(), f.open(query["token"]))
	if err != nil || len(ring.Keys()) != 5 {
		t.Errorf("%v, %v", ring, err)
	}
	if now, n := f.newest(); n != 5 || now["password"] != neighbour {
		t.Errorf("version %d", n)
	}
}

// cut makes the fake break off its answer to a write, which it has done or not.
func (f *fake) cut(done bool) {
	f.do(func() {
		f.hook = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut {
				return false
			}
			if done {
				f.do(func() { f.write(httptest.NewRecorder(), r) })
			}
			panic(http.ErrAbortHandler)
		}
	})
}

// A write whose answer is lost is looked for, and never sent twice.
func TestWriteIsNotSentTwice(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["token"])
	reads(t, s, keys)
	f.cut(true)
	f.requests()
	next := keyring.Generate().Text()
	if err := s.Write(t.Context(), []byte(keys), []byte(next)); err != nil {
		t.Errorf("Write that was done: %v", err)
	}
	f.asked(get, put, get)
	f.cut(false)
	err := s.Write(t.Context(), []byte(next), []byte(keys))
	told(t, err, "broke off", "whether it was written is not known")
	f.asked(get, put, get)

	// Somebody else writes in the same moment: that is not ours.
	f.do(func() {
		f.hook = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				f.put(map[string]any{"keys": "theirs"})
				panic(http.ErrAbortHandler)
			}
			return false
		}
	})
	told(t, s.Write(t.Context(), []byte(next), []byte(keys)), "not known")
	for _, status := range []int{412, 429, 500, 502, 503} {
		f.do(func() {
			f.hook = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					refuse(w, status, "internal error")
				}
				return r.Method == http.MethodPut
			}
		})
		f.requests()
		err := s.Write(t.Context(), []byte("theirs"), []byte(keys))
		told(t, err, "write secret/cloakroom")
		if strings.Contains(err.Error(), "not known") != (status >= 500) {
			t.Errorf("%d: %v", status, err)
		}
		if want := []string{get, put}; status < 500 {
			f.asked(want...)
		} else {
			f.asked(append(want, get)...)
		}
	}
}

// A write that the policy does not allow says what it lacks; and a token that is
// denied only there is exchanged as one that is denied at reading.
func TestWriteIsDenied(t *testing.T) {
	t.Parallel()
	f, query := ready(t, nil)
	s := f.open(query["approle"])
	reads(t, s, keys)
	denials := 1
	f.do(func() {
		f.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/data/cloakroom") || r.Method != http.MethodPut || denials == 0 {
				return false
			}
			denials--
			refuse(w, 403, "1 error occurred:\n\t* permission denied\n\n")
			return true
		}
	})
	f.requests()
	next := keyring.Generate().Text()
	if err := s.Write(t.Context(), []byte(keys), []byte(next)); err != nil {
		t.Error(err)
	}
	f.asked(get, put, approle, get, put)
	f.do(func() { denials = 100 })
	told(t, s.Write(t.Context(), []byte(next), []byte(keys)), "permission denied (403)", `capabilities = ["read", "update"]`)
	told(t, s.Write(t.Context(), []byte(next), []byte{0xff}), "UTF-8")
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if err := s.Write(ctx, []byte(next), []byte(keys)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Write without time: %v", err)
	}
}
