package web_test

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestASVS_15_2_2_CostlyReadsTakeTurns: of reads that go through much two run at a time, and one
// more is told to come back; a look at one page of anything is not held up, and an
// export that lasts holds up exports alone.
func TestASVS_15_2_2_CostlyReadsTakeTurns(t *testing.T) {
	h := newHouse(t, false)
	ada, _ := stories(t, h)
	get := func(path string) *httptest.ResponseRecorder {
		v := *ada // a visitor is one browser: none waits for another here
		return v.do("GET", path, "")
	}
	for _, tc := range []struct{ held, other string }{
		{"/auth/admin/suspicious", "/auth/admin/audit/export.csv"},
		{"/auth/admin/audit/export.jsonl", "/auth/admin/suspicious"},
	} {
		inside, leave := make(chan struct{}), make(chan struct{})
		h.reading = func() error {
			inside <- struct{}{}
			<-leave
			return nil
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { want(t, tc.held, get(tc.held), 200) })
		}
		<-inside
		<-inside
		h.reading = nil
		full := []string{tc.held}
		if strings.HasSuffix(tc.held, "suspicious") {
			full = append(full, "/auth/admin/users?q=b", "/auth/admin/users?state=disabled", "/auth/admin/sessions")
		} else {
			full = append(full, "/auth/admin/audit/export.csv")
		}
		for _, path := range full {
			res := get(path)
			want(t, path+" while two are at "+tc.held, res, 503)
			if res.Header().Get("Retry-After") == "" {
				t.Errorf("%s: nothing says when to come back", path)
			}
		}
		for _, path := range []string{"/auth/admin/users", "/auth/admin/audit", tc.other, "/auth/session"} {
			want(t, path+" while two are at "+tc.held, get(path), 200)
		}
		// Who waits a moment gets the turn of one that ends.
		wg.Go(func() { want(t, "one that waits", get(tc.held), 200) })
		leave <- struct{}{}
		leave <- struct{}{}
		wg.Wait()
		want(t, tc.held+" afterwards", get(tc.held), 200)
	}
}

// TestExportOfALogThatCannotBeRead is an error, in each format, and no empty file.
func TestExportOfALogThatCannotBeRead(t *testing.T) {
	h := newHouse(t, false)
	ada, _ := stories(t, h)
	h.reading = func() error { return errors.New("gone") }
	for _, path := range []string{"/auth/admin/audit/export.jsonl", "/auth/admin/audit/export.csv"} {
		res := ada.do("GET", path, "")
		want(t, path, res, 503)
		if res.Header().Get("Content-Disposition") != "" || strings.Contains(res.Body.String(), "seq") {
			t.Errorf("%s: %v %s", path, res.Header(), res.Body)
		}
	}
}

// TestManySessionsOfAUser: a page shows a hundred, and how many more there are.
func TestManySessionsOfAUser(t *testing.T) {
	h := newHouse(t, false)
	bob := h.add("bob").ID
	for range 103 {
		v := h.signIn("bob")
		if v.cookie == nil {
			t.Fatal("not signed in")
		}
	}
	ada := h.signIn("ada")
	var doc struct {
		Sessions []struct{ Handle string }
		More     int `json:"more_sessions"`
	}
	if err := json.Unmarshal(ada.do("GET", "/auth/admin/users/"+bob, "").Body.Bytes(), &doc); err != nil || len(doc.Sessions) != 100 || doc.More != 3 {
		t.Errorf("%d sessions and %d more, %v, want 100 and 3", len(doc.Sessions), doc.More, err)
	}
	page := ada.page("/auth/admin/users/" + bob).Body.String()
	if n := strings.Count(page, "/end\""); n != 100 || !strings.Contains(page, "And 3 more") {
		t.Errorf("%d sessions on the page", n)
	}
	want(t, "end all", ada.do("POST", "/auth/admin/users/"+bob+"/end-sessions", ""), 204)
	if list, err := h.store.ListUser(t.Context(), bob); err != nil || len(list) != 0 {
		t.Errorf("%d are left, %v", len(list), err)
	}
}
