package cloakroom

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/cloakroom-dev/cloakroom/internal/event"
)

// Key is a typed name for a value in a session. A program declares its keys as
// package variables:
//
//	var cart = cloakroom.NewKey[[]Item]("cart")
//
// Values are JSON, encoded at Set and decoded at Get. A value that cannot be
// encoded fails the commit with a *[ValueError]; one that cannot be decoded, as
// it was stored as another type, counts as missing, and is a log line with its
// name.
//
// The zero Key has no name; use NewKey.
type Key[T any] struct{ name string }

// maxName is the longest name of a value in bytes.
const maxName = 128

// NewKey returns a key. It panics if the name is empty or longer than 128 bytes.
// Names that begin with "cloakroom." belong to packages of this module: Names
// does not list them, and Clear keeps them.
func NewKey[T any](name string) Key[T] {
	if name == "" || len(name) > maxName {
		panic(fmt.Sprintf("cloakroom: a key's name has 1 to %d bytes, %q has %d", maxName, name, len(name)))
	}
	return Key[T]{name}
}

// Name returns the key's name.
func (k Key[T]) Name() string { return k.name }

// Get returns the value and whether there is one.
func (k Key[T]) Get(s *Session) (T, bool) {
	var v T
	raw, ok := s.value(k.name)
	if !ok {
		return v, false
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		s.unreadable(k.name, err)
		var zero T
		return zero, false
	}
	return v, true
}

// GetOr returns the value, or def where there is none.
func (k Key[T]) GetOr(s *Session, def T) T {
	if v, ok := k.Get(s); ok {
		return v
	}
	return def
}

// Pop returns the value and deletes it. Of two requests that pop at once both
// may see it; one that must not uses Update.
func (k Key[T]) Pop(s *Session) (T, bool) {
	v, ok := k.Get(s)
	if s.Has(k.name) {
		k.Delete(s)
	}
	return v, ok
}

// Set stores the value. A value that cannot be encoded, or that makes the session
// larger than Options.MaxBytes, fails the commit: with a *[ValueError] or
// [ErrTooLarge].
func (k Key[T]) Set(s *Session, v T) {
	raw, err := json.Marshal(v)
	name := k.name
	s.change(func(old values) (values, error) {
		if err != nil {
			return nil, &ValueError{name, err}
		}
		return old.set(name, raw), nil
	})
}

// Delete deletes the value, if there is one.
func (k Key[T]) Delete(s *Session) {
	name := k.name
	s.change(func(old values) (values, error) { return old.without(name), nil })
}

// Update stores what f makes of the value, or of T's zero value where there is
// none, and returns it. It is atomic: when another request has changed the value
// meanwhile, f runs again on the newer one, so it must do nothing but compute: one
// that asks the session for anything waits for itself for ever.
// The value is final after [Session.Commit]: ask Get then. A value that cannot be
// decoded fails the commit, rather than be overwritten.
func (k Key[T]) Update(s *Session, f func(T) T) T {
	var made T
	ran := false
	name := k.name
	s.change(func(old values) (values, error) {
		var v T
		if raw, ok := old.get(name); ok {
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, &ValueError{name, err}
			}
		}
		v = f(v)
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, &ValueError{name, err}
		}
		if !ran { // runs of a later Commit may be another goroutine's
			made, ran = v, true
		}
		return old.set(name, raw), nil
	})
	return made
}

// unreadable tells of a value that could not be decoded: never a zero value in
// silence.
func (s *Session) unreadable(name string, err error) {
	s.m.event(s.r.Context(), slog.LevelError, event.ValueUnreadable,
		event.Session(s.ID()), event.Text("name", name), slog.String("err", valueFault(err)))
}

// valueFault says what was wrong with a value by types alone: messages of
// encoding/json, and of the types' own methods, quote the value.
func valueFault(err error) string {
	switch e := err.(type) {
	case *json.UnmarshalTypeError:
		return fmt.Sprintf("JSON %s does not fit Go type %s", kindOf(e.Value), e.Type)
	case *json.UnsupportedTypeError, *json.UnsupportedValueError:
		return err.Error() // a type; NaN, Inf or the type of a cycle
	case *json.MarshalerError:
		return fmt.Sprintf("Go type %s does not encode itself", e.Type)
	}
	return "not the JSON of its type"
}

// kindOf is the kind of JSON value, without the number that encoding/json adds.
func kindOf(value string) string {
	for _, kind := range []string{"number", "string", "bool", "array", "object"} {
		if len(value) >= len(kind) && value[:len(kind)] == kind {
			return kind
		}
	}
	return "value"
}

// flashes are messages for the next page.
var flashes = NewKey[[]string]("cloakroom.flash")

// Flash keeps a message until a page shows it: see Flashes.
func (s *Session) Flash(msg string) {
	flashes.Update(s, func(all []string) []string { return append(all, msg) })
}

// Flashes returns the messages that Flash has kept, the oldest first, and
// forgets them.
func (s *Session) Flashes() []string {
	all, _ := flashes.Pop(s)
	return all
}
