package main_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/fleet"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keys"
	"github.com/cloakroom-dev/cloakroom/internal/canary"
	"github.com/cloakroom-dev/cloakroom/keyring"
)

// sinks are the ways in which a value is printed, by mistake or while looking for one.
func sinks() map[string]func(w io.Writer, v any) {
	all := map[string]func(w io.Writer, v any){
		"json":      func(w io.Writer, v any) { json.NewEncoder(w).Encode(v) },
		"xml":       func(w io.Writer, v any) { xml.NewEncoder(w).Encode(v) },
		"gob":       func(w io.Writer, v any) { gob.NewEncoder(w).Encode(v) },
		"slog text": func(w io.Writer, v any) { slog.New(slog.NewTextHandler(w, nil)).Info("m", "v", v) },
		"slog json": func(w io.Writer, v any) { slog.New(slog.NewJSONHandler(w, nil)).Info("m", "v", v) },
		"error":     func(w io.Writer, v any) { io.WriteString(w, fmt.Errorf("bad: %v", v).Error()) },
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%U", "%t", "%8.3v"} {
		all[verb] = func(w io.Writer, v any) { fmt.Fprintf(w, verb, v) }
	}
	return all
}

// holders are the values among which a value may stand when it is printed: fmt does not
// ask the methods of what lies in other people's unexported fields.
func holders(v any) map[string]any {
	return map[string]any{
		"itself": v, "exported field": struct{ V any }{v}, "field": struct{ v any }{v}, "pointer to field": &struct{ v any }{v},
		"slice": []any{v}, "map": map[string]any{"v": v}, "two deep": struct{ in struct{ v any } }{struct{ v any }{v}},
	}
}

// everySource returns a place for each kind of source that needs no server, with the key.
func everySource(t *testing.T, k keyring.Key) map[string]string {
	t.Helper()
	dir := t.TempDir()
	save := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := writeFile(path, text); err != nil {
			t.Fatal(err)
		}
		return path
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, k.Text())
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"file":      "--keys=file:" + save("keys", []byte(k.Text())),
		"keys-file": "--keys-file=" + save("mounted", []byte(k.Text())),
		"env":       "--keys=env:SECRET_KEYS",
		"dotenv":    "--keys=dotenv:" + save(".env", []byte("KEYS="+k.Text())) + "#KEYS",
		"age":       "--keys=age:" + save("keys.age", sealed.Bytes()) + "?identity-file=" + save("identity", []byte(id.String())),
	}
}

// secretOf returns the 32 bytes of a key.
func secretOf(t *testing.T, k keyring.Key) []byte {
	t.Helper()
	return secretIn(t, k.Text())
}

// TestPromise11_NothingThatHoldsKeysPrintsThem: the configuration, a source that has just
// been read, what keeps the keys, and what is told of them, printed in whatever way.
func TestPromise11_NothingThatHoldsKeysPrintsThem(t *testing.T) {
	k := keyring.Generate()
	var search canary.Search
	search.Add("key", secretOf(t, k))
	values := map[string]any{}
	for name, flag := range everySource(t, k) {
		setting, value := splitFlag(flag)
		cfg, err := config.Load(map[string]string{setting: value}, append(os.Environ(), "SECRET_KEYS="+k.Text()))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		src, err := cfg.Keys.Open()
		if err != nil {
			t.Fatal(err)
		}
		ring, err := keyring.Load(t.Context(), src)
		if err != nil || ring.Active() != k.ID() {
			t.Fatalf("%s: %v, %v", name, ring, err)
		}
		instance := fleet.Instance{ID: "i", Keys: fleet.Describe(ring.Keys())}
		keeper, err := keys.New(keys.Options{Ring: ring, Source: src, Interval: time.Hour, Instance: instance, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		follow := &keyring.FollowOptions{}
		values[name+" config"], values[name+" *config"], values[name+" place"] = *cfg, cfg, cfg.Keys
		values[name+" source"], values[name+" ring"], values[name+" keeper"] = src, ring, keeper
		values[name+" status"], values[name+" instance"], values[name+" follow"] = keeper.Status(), instance, follow
		values[name+" refusal"] = fmt.Errorf("refused: %v %#v", ring, src)
	}
	n := 0
	for name, v := range values {
		for where, held := range holders(v) {
			for sink, print := range sinks() {
				var out bytes.Buffer
				print(&out, held)
				n += out.Len()
				if finds := search.Find(out.Bytes()); len(finds) > 0 {
					t.Errorf("%s, %s, by %s: %v in\n%.600s", name, where, sink, finds[0], out.String())
				}
			}
		}
	}
	if n < 100_000 {
		t.Errorf("only %d bytes", n)
	}
}

// TestPromise11_StacksOfPanicsShowNoKey: where something panics that was handed keys, or
// is asked by what works with them, the stack that goes into the log shows none.
func TestPromise11_StacksOfPanicsShowNoKey(t *testing.T) {
	k := keyring.Generate()
	var search canary.Search
	search.Add("key", secretOf(t, k))
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(k.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	src := keyring.File(path)
	ring, err := keyring.Load(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	others := textSource(k.AsNext().Text() + "\n" + keyring.Generate().Text())
	for name, f := range map[string]func(){
		"Edit": func() {
			keyring.Edit(t.Context(), src, func(list []keyring.Key) ([]keyring.Key, error) { panic(list) })
		},
		"Looked": func() {
			ring.Follow(t.Context(), others, &keyring.FollowOptions{Interval: 10 * time.Millisecond, Looked: func(bool, error) { panic(ring) }})
		},
		"Read": func() { keyring.Read(&panicking{[]byte(k.Text() + "\n")}) },
		"nil":  func() { var p *keyring.Purpose; p.Seal([]byte(k.String()), nil) },
	} {
		func() {
			defer func() {
				p := recover()
				if p == nil {
					t.Errorf("%s: no panic", name)
				}
				text := fmt.Sprintf("%v %#v %s", p, p, debug.Stack())
				if finds := search.Find([]byte(text)); len(finds) > 0 {
					t.Errorf("%s: %v in\n%s", name, finds, text)
				}
			}()
			f()
		}()
	}
}

// textSource is a source of what it is.
type textSource string

func (s textSource) Read(context.Context) ([]byte, error) { return []byte(s), nil }

// panicking is a reader that panics when it has been read.
type panicking struct{ text []byte }

func (p *panicking) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		panic("read")
	}
	n := copy(b, p.text)
	p.text = p.text[n:]
	return n, nil
}
