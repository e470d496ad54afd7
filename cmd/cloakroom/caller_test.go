package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// caller sends requests and takes what comes back, errors included. It keeps no
// cookies: its user says which one goes along.
type caller struct {
	http *http.Client
	base string
}

func newCaller(base string) caller {
	return caller{base: base, http: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is an answer. Status is 0 where none came.
type reply struct {
	status int
	header http.Header
	body   string
	cookie string // name=value of the session cookie that was set
}

// ask sends a request with a session cookie, perhaps "", and a CSRF token, perhaps
// "". A body is JSON.
func (c caller) ask(method, path, cookie, csrf, body string, header ...string) (reply, error) {
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	if csrf != "" {
		r.Header.Set("X-CSRF-Token", csrf)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	a := reply{status: res.StatusCode, header: res.Header, body: string(text)}
	for _, ck := range res.Cookies() {
		if strings.HasSuffix(ck.Name, "session") {
			a.cookie = ck.Name + "=" + ck.Value
		}
	}
	return a, nil
}

// ticket is a session that somebody was given.
type ticket struct{ user, cookie, csrf string }

// signIn signs in anew; the ticket lacks its CSRF token.
func (c caller) signIn(user string) (ticket, reply, error) {
	a, err := c.ask("POST", "/auth/login", "", "", credentials(user, goodPassword))
	return ticket{user: user, cookie: a.cookie}, a, err
}

// look reads the session, and the token for what follows.
func (c caller) look(t *ticket) (reply, error) {
	a, err := c.ask("GET", "/auth/session", t.cookie, "", "")
	if err != nil || a.status != http.StatusOK {
		return a, err
	}
	var doc struct {
		User      struct{ Name string }
		CSRFToken string `json:"csrf_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || doc.User.Name != t.user {
		return a, fmt.Errorf("the session of %s answers %s: %v", t.user, a.body, err)
	}
	t.csrf = doc.CSRFToken
	return a, nil
}
