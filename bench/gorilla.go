package main

import (
	"crypto/rand"
	"maps"
	"net/http"
	"sync"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// gorillaMemory is a store in memory for gorilla/sessions, which has none of its
// own: as little as its interface allows. The cookie holds a signed ID; the values
// are copied one level deep, not encoded, so it is faster than one that keeps a
// visitor's slices and maps apart could be.
type gorillaMemory struct {
	codecs  []securecookie.Codec
	options sessions.Options

	mu  sync.RWMutex
	all map[string]map[any]any
}

func newGorillaMemory(key []byte) *gorillaMemory {
	return &gorillaMemory{
		codecs:  securecookie.CodecsFromPairs(key),
		options: sessions.Options{Path: "/", HttpOnly: true, Secure: true},
		all:     map[string]map[any]any{},
	}
}

// Get implements sessions.Store.
func (m *gorillaMemory) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(m, name)
}

// New implements sessions.Store.
func (m *gorillaMemory) New(r *http.Request, name string) (*sessions.Session, error) {
	s := sessions.NewSession(m, name)
	options := m.options
	s.Options, s.IsNew = &options, true
	c, err := r.Cookie(name)
	if err != nil {
		return s, nil
	}
	if err := securecookie.DecodeMulti(name, c.Value, &s.ID, m.codecs...); err != nil {
		return s, err
	}
	m.mu.RLock()
	values, ok := m.all[s.ID]
	m.mu.RUnlock()
	if ok {
		s.Values, s.IsNew = maps.Clone(values), false
	}
	return s, nil
}

// Save implements sessions.Store.
func (m *gorillaMemory) Save(_ *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	if s.ID == "" {
		s.ID = rand.Text()
	}
	value, err := securecookie.EncodeMulti(s.Name(), s.ID, m.codecs...)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.all[s.ID] = maps.Clone(s.Values)
	m.mu.Unlock()
	http.SetCookie(w, sessions.NewCookie(s.Name(), value, s.Options))
	return nil
}
