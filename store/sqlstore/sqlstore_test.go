package sqlstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloakroom-dev/cloakroom/store"
	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// TestPromise09_NoStatementWalksTheTable: a read is one statement and so is a write that succeeds; none
// of them walks through the sessions of others.
func TestPromise09_NoStatementWalksTheTable(t *testing.T) {
	s := &spy{DB: open(t)}
	st, err := sqlstore.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	s.take()
	ctx := t.Context()
	r := record("alice")
	for _, step := range []struct {
		name string
		want int
		err  error
		do   func() error
	}{
		{"create", 1, nil, func() error { return st.Put(ctx, r) }},
		{"update", 1, nil, func() error { r.Version = 1; return st.Put(ctx, r) }},
		{"get", 1, nil, func() error { _, err := st.Get(ctx, r.ID); return err }},
		{"touch", 1, nil, func() error { return st.Touch(ctx, r.ID, r.Seen, r.Expires) }},
		{"list", 1, nil, func() error { _, err := st.ListUser(ctx, "alice"); return err }},
		{"scan", 1, nil, func() error { _, err := st.Scan(ctx, store.ID{}, 10); return err }},
		{"end", 1, nil, func() error { return st.End(ctx, r.ID, 2, why(), r.Deadline) }},
		{"end user", 1, nil, func() error { _, err := st.EndUser(ctx, "alice", store.ID{}, why(), r.Deadline); return err }},
		{"sweep", 3, nil, func() error { _, err := st.Sweep(ctx, time.Now()); return err }},
		{"late update", 2, store.ErrEnded, func() error { return st.Put(ctx, r) }},
		{"late create", 2, store.ErrEnded, func() error { r.Version = 0; return st.Put(ctx, r) }},
		{"late touch", 2, store.ErrEnded, func() error { return st.Touch(ctx, r.ID, r.Seen, r.Expires) }},
		{"late end", 3, store.ErrEnded, func() error { return st.End(ctx, r.ID, 0, why(), r.Deadline) }},
		{"get tombstone", 1, store.ErrEnded, func() error { _, err := st.Get(ctx, r.ID); return err }},
	} {
		if err := step.do(); !errors.Is(err, step.err) || step.err == nil && err != nil {
			t.Errorf("%s: %v, want %v", step.name, err, step.err)
		}
		ran := s.take()
		if len(ran) != step.want {
			t.Errorf("%s: %d statements, want %d", step.name, len(ran), step.want)
		}
		for _, c := range ran {
			if plan := explain(t, s.DB, c); strings.Contains(plan, "SCAN cloakroom_session") {
				t.Errorf("%s walks through the table: %s\n%s", step.name, c.query, plan)
			}
		}
	}
}

// explain returns how the database goes about a statement.
func explain(t *testing.T, db sqlstore.DB, c call) string {
	t.Helper()
	rows, err := db.Reader().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+c.query, c.args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var (
			id, parent, unused int
			detail             string
		)
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

// TestTombstoneKeepsNothingElse: what a session held is gone from its row when
// it ends.
func TestTombstoneKeepsNothingElse(t *testing.T) { each(t, proveTombstoneKeepsNothingElse) }

func proveTombstoneKeepsNothingElse(t *testing.T, db database) {
	s := db.Store()
	one, two := record("alice"), record("alice")
	put(t, s, one)
	put(t, s, two)
	if err := s.End(t.Context(), one.ID, 0, why(), one.Deadline); err != nil {
		t.Fatal(err)
	}
	if n, err := s.EndUser(t.Context(), "alice", store.ID{}, why(), one.Deadline); n != 1 || err != nil {
		t.Fatalf("ended %d, %v, want 1", n, err)
	}
	var rows, rest int
	err := db.Reader().QueryRowContext(t.Context(),
		"SELECT count(*), sum(length(user_id) + length(info) + length(data)) FROM cloakroom_session").Scan(&rows, &rest)
	if err != nil || rows != 2 || rest != 0 {
		t.Errorf("%d rows that keep %d bytes of user, info and data, %v; want 2 and 0", rows, rest, err)
	}
}

// TestNoReason: a tombstone without a reason would be a live record.
func TestNoReason(t *testing.T) { each(t, proveNoReason) }

func proveNoReason(t *testing.T, db database) {
	s := db.Store()
	r := put(t, s, record("alice"))
	if err := s.End(t.Context(), r.ID, 0, store.Ended{}, r.Deadline); err == nil {
		t.Error("End took no reason")
	}
	if _, err := s.EndUser(t.Context(), "alice", store.ID{}, store.Ended{}, r.Deadline); err == nil {
		t.Error("EndUser took no reason")
	}
	if _, err := s.Get(t.Context(), r.ID); err != nil {
		t.Error(err)
	}
}

// TestAttack_A52_TimesAtTheirLimits: every whole millisecond of RFC 3339 comes back as it
// was, and what is finer is cut.
func TestAttack_A52_TimesAtTheirLimits(t *testing.T) { each(t, proveTimesAtTheirLimits) }

func proveTimesAtTheirLimits(t *testing.T, db database) {
	s := db.Store()
	for _, at := range []time.Time{
		{},
		time.UnixMilli(0).UTC(),
		time.UnixMilli(-1).UTC(),
		time.UnixMilli(1).UTC(),
		time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC),
		time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC),
	} {
		r := record("")
		r.Created, r.Seen, r.Expires, r.Deadline = at, at, at, at
		put(t, s, r)
		got, err := s.Get(t.Context(), r.ID)
		if err != nil || got.Created != at || got.Seen != at || got.Expires != at || got.Deadline != at {
			t.Errorf("stored %v, got %+v, %v", at, got, err)
		}
	}
	r := record("")
	r.Created = r.Created.Add(999_999 * time.Nanosecond).In(time.FixedZone("", 3600))
	put(t, s, r)
	if got, err := s.Get(t.Context(), r.ID); err != nil || got.Created != r.Created.UTC().Truncate(time.Millisecond) {
		t.Errorf("stored %v, got %v, %v", r.Created, got.Created, err)
	}
}

// TestAttack_A08_UserIDsAreBytes: no case, no collation, no NUL that ends them.
func TestAttack_A08_UserIDsAreBytes(t *testing.T) { each(t, proveUserIDsAreBytes) }

func proveUserIDsAreBytes(t *testing.T, db database) {
	s := db.Store()
	users := []string{
		"a", "A", "a ", "a\x00", "a\x00b", "ä", "a\u0308", "\xff\xfe", "'; DROP TABLE cloakroom_session; --", "%", "_",
		strings.Repeat("x", store.MaxUserID),
	}
	for _, u := range users {
		put(t, s, record(u))
	}
	for _, u := range users {
		list, err := s.ListUser(t.Context(), u)
		if err != nil || len(list) != 1 || list[0].UserID != u {
			t.Errorf("%q: %+v, %v, want one session", u, list, err)
		}
	}
	if err := s.Put(t.Context(), record(strings.Repeat("x", store.MaxUserID+1))); err == nil {
		t.Error("a user ID that is too long was taken")
	}
	anonymous := put(t, s, record(""))
	if list, err := s.ListUser(t.Context(), ""); len(list) != 0 || err != nil {
		t.Errorf("nobody has sessions: %+v, %v", list, err)
	}
	if n, err := s.EndUser(t.Context(), "", store.ID{}, why(), anonymous.Deadline); n != 0 || err != nil {
		t.Errorf("ended %d sessions of nobody, %v", n, err)
	}
}

// TestAttack_A52_Sizes: values of 0 bytes to 1 MiB, of any bytes.
func TestAttack_A52_Sizes(t *testing.T) { each(t, proveSizes) }

func proveSizes(t *testing.T, db database) {
	s := db.Store()
	for _, n := range []int{0, 1, 4095, 4096, 65536, store.MaxData - 1, store.MaxData} {
		r := record("alice")
		r.Data, r.Info = bytes.Repeat([]byte{0, 0xff, '\n'}, n/3+1)[:n], bytes.Repeat([]byte{0}, n%512)
		r = put(t, s, r)
		put(t, s, r) // an update of the same size
		got, err := s.Get(t.Context(), r.ID)
		if err != nil || !bytes.Equal(got.Data, r.Data) || !bytes.Equal(got.Info, r.Info) {
			t.Errorf("%d bytes: got %d and %d back, %v", n, len(got.Data), len(got.Info), err)
		}
	}
	if r := record(""); true {
		r.Data, r.Info = nil, nil
		put(t, s, r)
		if got, err := s.Get(t.Context(), r.ID); err != nil || len(got.Data)+len(got.Info) != 0 {
			t.Errorf("nil came back as %+v, %v", got, err)
		}
	}
}

func TestKnownKeys(t *testing.T) { each(t, proveKnownKeys) }

func proveKnownKeys(t *testing.T, db database) {
	s := db.Store()
	ctx, now := t.Context(), time.Now()
	if list, err := s.KnownKeys(ctx); len(list) != 0 || err != nil {
		t.Fatal(list, err)
	}
	for i, id := range []string{"00000001", "00000002", "00000001"} {
		if err := s.RememberKey(ctx, id, now.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	// An instance whose clock is behind does not take a key back.
	if err := s.RememberKey(ctx, "00000001", now); err != nil {
		t.Fatal(err)
	}
	list, err := s.KnownKeys(ctx)
	if err != nil || len(list) != 2 || list[0].ID != "00000001" || list[1].ID != "00000002" ||
		!list[0].LastUsed.Equal(now.Add(2*time.Hour).Truncate(time.Millisecond)) {
		t.Errorf("got %+v, %v", list, err)
	}
	for _, id := range []string{"", strings.Repeat("x", 33)} {
		if err := s.RememberKey(ctx, id, now); err == nil {
			t.Errorf("the id %q was taken", id)
		}
	}
	if err := s.ForgetKeys(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := s.KnownKeys(ctx); len(list) != 0 || err != nil {
		t.Error(list, err)
	}
}
