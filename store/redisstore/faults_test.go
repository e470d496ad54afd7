package redisstore_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/internal/services"
	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/redisstore"
)

// TestAttack_A51_Unreadable: whatever stands under a session's key, the visitor is
// signed out and can sign in anew, there is a log line, and nothing but an End
// touches what is there.
func TestAttack_A51_Unreadable(t *testing.T) {
	url, prefix := services.Redis(t), services.Prefix(t)+":"
	c := client(t, url)
	var log bytes.Buffer
	s := openAt(t, url, &redisstore.Options{Prefix: prefix, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	good := put(t, s, record("user"))
	stored, err := c.Do(t.Context(), c.B().Get().Key(prefix+"s:"+good.ID.String()).Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	set := func(value string) func(key string) error {
		return func(key string) error { return c.Do(t.Context(), c.B().Set().Key(key).Value(value).Build()).Error() }
	}
	for name, garble := range map[string]func(key string) error{
		"garbage":      set("\x00garbage"),
		"one byte":     set("R"),
		"later format": set("R2" + stored[2:]),
		"later tomb":   set("T2 something"),
		"truncated":    set(stored[:100]),
		"short body":   set(stored[:119] + "u"),
		"no numbers":   set(stored[:22] + strings.Repeat("x", 60) + stored[82:]),
		"version 0":    set(stored[:2] + strings.Repeat("0", 20) + stored[22:]),
		"bad tomb":     set("T1999+000000000000000"),
		"short tomb":   set("T1001"),
		"list":         func(key string) error { return c.Do(t.Context(), c.B().Lpush().Key(key).Element("x").Build()).Error() },
		"hash": func(key string) error {
			return c.Do(t.Context(), c.B().Hset().Key(key).FieldValue().FieldValue("a", "b").Build()).Error()
		},
		"set that stays": func(key string) error { return c.Do(t.Context(), c.B().Sadd().Key(key).Member("x").Build()).Error() },
	} {
		t.Run(name, func(t *testing.T) {
			r := record("user")
			if err := garble(prefix + "s:" + r.ID.String()); err != nil {
				t.Fatal(err)
			}
			log.Reset()
			_, err := s.Get(t.Context(), r.ID)
			if !errors.Is(err, store.ErrEnded) || !strings.Contains(err.Error(), r.ID.Handle()+" cannot be read") {
				t.Errorf("Get: %v, want that it cannot be read, which is %v", err, store.ErrEnded)
			}
			if line := log.String(); !strings.Contains(line, "record_unreadable") || !strings.Contains(line, r.ID.Handle()) {
				t.Errorf("the log has %q", line)
			}
			if list, err := s.ListUser(t.Context(), "user"); err != nil || len(list) != 1 {
				t.Errorf("ListUser: %d sessions, %v, want the other one", len(list), err)
			}
			for version := range uint64(3) { // nothing is stored over it
				r.Version = version
				if err := s.Put(t.Context(), r); err == nil || strings.Contains(err.Error(), "redisstore: put") {
					t.Errorf("Put of version %d: %v", version, err)
				}
			}
			if err := s.Touch(t.Context(), r.ID, r.Seen, r.Expires); err == nil || strings.Contains(err.Error(), "redisstore: touch") {
				t.Errorf("Touch: %v", err)
			}
			if err := s.End(t.Context(), r.ID, 0, why(), r.Deadline); err != nil && strings.Contains(err.Error(), "redisstore: end") {
				t.Errorf("End: %v", err)
			}
			if _, err := s.Get(t.Context(), r.ID); !errors.Is(err, store.ErrEnded) {
				t.Errorf("Get after End: %v", err)
			}
			put(t, s, record("another")) // who signs in anew
		})
	}
}

// TestAttack_A51_Index: an index that is garbage is an error and a log line for who
// asks for it, as nobody knows whom it named; the user can sign in, and what was in
// it is gone at its next change.
func TestAttack_A51_Index(t *testing.T) {
	url, prefix := services.Redis(t), services.Prefix(t)+":"
	var log bytes.Buffer
	c := client(t, url)
	s := openAt(t, url, &redisstore.Options{Prefix: prefix, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	old := put(t, s, record("user"))
	keys, err := c.Do(t.Context(), c.B().Keys().Pattern(prefix+"u:*").Build()).AsStrSlice()
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if err := c.Do(t.Context(), c.B().Set().Key(keys[0]).Value("garbage").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	told := func(call string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "cannot be read") || errors.Is(err, store.ErrEnded) {
			t.Errorf("%s: %v, want an error that is no answer", call, err)
		}
		if line := log.String(); !strings.Contains(line, "record_unreadable") || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: the log has %q", call, line)
		}
		log.Reset()
	}
	_, err = s.ListUser(t.Context(), "user")
	told("ListUser", err)
	n, err := s.EndUser(t.Context(), "user", store.ID{}, why(), old.Deadline)
	told("EndUser", err)
	if _, err := s.Get(t.Context(), old.ID); n != 0 || err != nil {
		t.Errorf("EndUser ended %d, Get: %v", n, err)
	}
	if err := s.Touch(t.Context(), old.ID, old.Seen, old.Expires); !errors.Is(err, store.ErrEnded) {
		t.Errorf("Touch: %v", err)
	}
	fresh := put(t, s, record("user"))
	if list, err := s.ListUser(t.Context(), "user"); err != nil || len(list) != 1 || list[0].ID != fresh.ID {
		t.Errorf("ListUser: %v, %v", list, err)
	}
	if n, err := s.EndUser(t.Context(), "user", store.ID{}, why(), fresh.Deadline); err != nil || n != 1 {
		t.Errorf("EndUser: %d, %v", n, err)
	}
	if err := s.Put(t.Context(), old); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Put of a session that no list shows: %v", err)
	}
	if _, err := s.Get(t.Context(), old.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get of a session that no list shows: %v", err)
	}
}

// TestPromise05_NoUserInKeys: a key's name shows neither token nor user.
func TestPromise05_NoUserInKeys(t *testing.T) {
	url, prefix := services.Redis(t), services.Prefix(t)+":"
	c, s := client(t, url), openAt(t, url, &redisstore.Options{Prefix: prefix})
	r := put(t, s, record("alice@example.com"))
	keys, err := c.Do(t.Context(), c.B().Keys().Pattern(prefix+"*").Build()).AsStrSlice()
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		if strings.Contains(key, "alice") {
			t.Errorf("the key %q names the user", key)
		}
		ttl, err := c.Do(t.Context(), c.B().Pexpiretime().Key(key).Build()).AsInt64()
		if want := r.Expires.Add(store.Slack).UnixMilli(); err != nil || ttl < want {
			t.Errorf("%s expires at %d, %v, want at least %d", key, ttl, err, want)
		}
	}
}

// TestKeptLongEnough: no key goes before the contract says, whatever changes it.
func TestKeptLongEnough(t *testing.T) {
	url, prefix := services.Redis(t), services.Prefix(t)+":"
	c, s := client(t, url), openAt(t, url, &redisstore.Options{Prefix: prefix})
	r := put(t, s, record("user"))
	key := prefix + "s:" + r.ID.String()
	kept := func(when string, until int64) {
		t.Helper()
		at, err := c.Do(t.Context(), c.B().Pexpiretime().Key(key).Build()).AsInt64()
		if err != nil || at != until+store.Slack.Milliseconds() {
			t.Errorf("%s the key expires at %d, %v, want %d", when, at, err, until+store.Slack.Milliseconds())
		}
	}
	kept("after a create", r.Expires.UnixMilli())
	later := r.Expires.Add(store.Slack)
	if err := s.Touch(t.Context(), r.ID, r.Seen, later); err != nil {
		t.Fatal(err)
	}
	kept("after a touch", later.UnixMilli())
	r = put(t, s, r) // with the earlier Expires
	kept("after an update with an earlier time", later.UnixMilli())
	if err := s.Touch(t.Context(), r.ID, r.Seen, r.Deadline.Add(store.Slack)); err != nil {
		t.Fatal(err)
	}
	kept("after a touch beyond the deadline", r.Deadline.UnixMilli())
	if err := s.End(t.Context(), r.ID, 0, why(), r.Created); err != nil {
		t.Fatal(err)
	}
	kept("after an end", r.Deadline.UnixMilli())
	// A tombstone lasts as long as the session could have, and not as it was idle.
	for name, end := range map[string]func(r store.Record, until time.Time) error{
		"an end": func(r store.Record, until time.Time) error { return s.End(t.Context(), r.ID, 0, why(), until) },
		"an end of all": func(r store.Record, until time.Time) error {
			_, err := s.EndUser(t.Context(), r.UserID, store.ID{}, why(), until)
			return err
		},
	} {
		for _, until := range []time.Time{r.Created, r.Deadline.Add(time.Hour)} {
			r := put(t, s, record("user"))
			key = prefix + "s:" + r.ID.String()
			if err := end(r, until); err != nil {
				t.Fatal(err)
			}
			kept("after "+name, max(until.UnixMilli(), r.Deadline.UnixMilli()))
		}
	}
}

// TestKnownKeys: the registry keeps what it is told, the one used last first.
func TestKnownKeys(t *testing.T) {
	s, now, ctx := open(t), why().At, t.Context()
	if list, err := s.KnownKeys(ctx); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	for i, id := range []string{"first", "second\x00\xff", "third"} {
		if err := s.RememberKey(ctx, id, now.Add(store.Slack*[]time.Duration{1, 3, 2}[i])); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.KnownKeys(ctx)
	if err != nil || len(list) != 3 || list[0].ID != "second\x00\xff" || !list[0].LastUsed.Equal(now.Add(3*store.Slack)) {
		t.Fatal(list, err)
	}
	// An instance whose clock is behind does not take a key back.
	if err := s.RememberKey(ctx, "second\x00\xff", now); err != nil {
		t.Fatal(err)
	}
	if list, err := s.KnownKeys(ctx); err != nil || len(list) != 3 || !list[0].LastUsed.Equal(now.Add(3*store.Slack)) {
		t.Errorf("an earlier time took the place of a later one: %v, %v", list, err)
	}
	if s.RememberKey(ctx, "", now) == nil || s.RememberKey(ctx, strings.Repeat("x", 33), now) == nil {
		t.Error("an id of another length was remembered")
	}
	if err := s.ForgetKeys(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := s.KnownKeys(ctx); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
}
