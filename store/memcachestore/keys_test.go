package memcachestore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// The registry remembers keys, the one used last first, under any number of
// instances at once.
func TestKnownKeys(t *testing.T) {
	srv := serve(t)
	st, other := open(t, srv.URL(), nil), open(t, srv.URL(), nil)
	ctx := t.Context()
	if keys, err := st.KnownKeys(ctx); len(keys) != 0 || err != nil {
		t.Fatalf("KnownKeys: %v, %v", keys, err)
	}
	n := now()
	for i, id := range []string{"one", "two", strings.Repeat("x", 32), "\x00\r\n"} {
		want(t, "RememberKey", st.RememberKey(ctx, id, n.Add(time.Duration(i)*time.Minute)), nil)
	}
	want(t, "RememberKey", other.RememberKey(ctx, "one", n.Add(time.Hour)), nil)
	want(t, "RememberKey", other.RememberKey(ctx, "two", n.Add(-time.Hour)), nil) // it stays where it was
	keys, err := st.KnownKeys(ctx)
	want(t, "KnownKeys", err, nil)
	var ids []string
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	if len(ids) != 4 || ids[0] != "one" || ids[1] != "\x00\r\n" || ids[3] != "two" {
		t.Errorf("the keys are %q", ids)
	}
	if !keys[0].LastUsed.Equal(n.Add(time.Hour)) || !keys[3].LastUsed.Equal(n.Add(time.Minute)) || keys[0].LastUsed.Location() != time.UTC {
		t.Errorf("the times are %v and %v", keys[0].LastUsed, keys[3].LastUsed)
	}
	if got := ttl(t, srv.Addr(), "cloakroom:k:keys"); got != -1 {
		t.Errorf("the registry expires in %d s", got)
	}
	for _, id := range []string{"", strings.Repeat("x", 33)} {
		if err := st.RememberKey(ctx, id, n); err == nil {
			t.Errorf("an id of %d bytes is taken", len(id))
		}
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := st.RememberKey(ctx, fmt.Sprint(i), n); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if keys, err := st.KnownKeys(ctx); len(keys) != 24 || err != nil {
		t.Errorf("%d keys, %v, want 24", len(keys), err)
	}
	want(t, "ForgetKeys", st.ForgetKeys(ctx), nil)
	want(t, "ForgetKeys of none", st.ForgetKeys(ctx), nil)
	if keys, err := st.KnownKeys(ctx); len(keys) != 0 || err != nil {
		t.Errorf("KnownKeys: %v, %v", keys, err)
	}
}

// A registry that cannot be read is no empty one: nobody would notice that the
// keys are others.
func TestKnownKeysOfGarbage(t *testing.T) {
	srv := serve(t)
	st := open(t, srv.URL(), nil)
	for _, garbage := range []string{"", "x", "\x01\x04\x03ab", "\x02\x04", "\x01\x04\x00" + strings.Repeat("\x00", 8)} {
		overwrite(t, srv.Addr(), "cloakroom:k:keys", []byte(garbage))
		if keys, err := st.KnownKeys(t.Context()); err == nil {
			t.Errorf("%q: %v", garbage, keys)
		}
		if err := st.RememberKey(t.Context(), "one", now()); err == nil {
			t.Errorf("%q: RememberKey says nothing", garbage)
		}
	}
	want(t, "ForgetKeys", st.ForgetKeys(t.Context()), nil)
	want(t, "RememberKey", st.RememberKey(t.Context(), "one", now()), nil)

	// A restart forgets the keys like everything else: that is what the package
	// comment warns of.
	srv.Kill(t)
	srv.Start(t)
	if keys, err := st.KnownKeys(t.Context()); len(keys) != 0 || err != nil {
		t.Errorf("KnownKeys after a restart: %v, %v", keys, err)
	}
}
