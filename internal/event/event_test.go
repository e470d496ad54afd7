package event_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/cloakroom-dev/cloakroom/internal/event"
	"github.com/cloakroom-dev/cloakroom/store"
)

// hostile is outside text that ends a line, colours a terminal or turns the
// direction of what follows.
var hostile = []string{
	"a\r\nlevel=ERROR msg=forged",
	"\x1b[31mred\x1b[0m",
	"nul\x00byte",
	"line\u2028separator\u2029paragraph",
	"\u202egnp.exe",
	"next\u0085line",
	"zero\u200bwidth\ufeff",
	"\xff\xfe invalid",
	"\u2066isolate\u2069",
	"del\x7f \u009b31m",
	`quote" and backslash\`,
	strings.Repeat("\u202e", 10_000),
}

func TestASVS_16_4_1_OutsideTextStaysOneLineOfASCII(t *testing.T) {
	handlers := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	}
	for name, make := range handlers {
		for _, s := range hostile {
			var b bytes.Buffer
			event.Log(context.Background(), slog.New(make(&b)), slog.LevelInfo, event.LoginRefused,
				event.User(s), event.Addr(s), event.Text("path", s), event.Err(errors.New("read "+s)))
			out := b.String()
			if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") {
				t.Errorf("%s: %q became %d lines", name, s, strings.Count(out, "\n"))
			}
			for i := range len(out) - 1 {
				if out[i] < ' ' || out[i] > '~' {
					t.Errorf("%s: %q left byte %#x in the log", name, s, out[i])
					break
				}
			}
			// 256 bytes grow sixfold at most when quoted, and twice by JSON.
			if len(out) > 30_000 {
				t.Errorf("%s: a text of %d bytes wrote %d", name, len(s), len(out))
			}
		}
	}
}

func TestLineHasTheNamesOfTheInventory(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{AddSource: true}))
	id := store.ID{1, 2, 3}
	event.Log(context.Background(), l, slog.LevelWarn, event.AccessRefused,
		event.User("u1"), event.Addr("192.0.2.1"), event.Reason("role"), event.Outcome("refused"),
		event.Session(id), event.Err(errors.New("plain")), event.Err(nil), event.Session(store.ID{}))

	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"level": "WARN", "msg": "access_refused", "user": "u1", "addr": "192.0.2.1",
		"reason": "role", "outcome": "refused", "session": id.Handle(), "err": "plain",
	}
	for k, v := range want {
		if line[k] != v {
			t.Errorf("%s is %v, want %v", k, line[k], v)
		}
	}
	if len(line) != len(want)+2 { // and time and source
		t.Errorf("the line has other attributes as well: %v", line)
	}
	source, _ := line["source"].(map[string]any)
	if file, _ := source["file"].(string); !strings.HasSuffix(file, "event_test.go") {
		t.Errorf("the line's source is %v, want its caller", source)
	}
}

func TestBelowTheLevelNothingIsWritten(t *testing.T) {
	var b bytes.Buffer
	l := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelError}))
	event.Log(context.Background(), l, slog.LevelWarn, event.BadCookie)
	if b.Len() != 0 {
		t.Errorf("wrote %q", b.String())
	}
}

func TestTextIsCutAtACharacter(t *testing.T) {
	for name, s := range map[string]string{
		"ascii":     strings.Repeat("a", 300),
		"two bytes": "a" + strings.Repeat("é", 200),
		"garbage":   strings.Repeat("\x80", 300),
	} {
		got := event.Text("k", s).Value.String()
		if !strings.HasSuffix(got, `"...`) {
			t.Errorf("%s: %q does not say that it was cut", name, got)
		}
		if name == "two bytes" && strings.Contains(got, `\x`) {
			t.Errorf("a character was cut in two: %q", got)
		}
	}
	if got := event.Text("k", strings.Repeat("a", 256)).Value.String(); len(got) != 256 {
		t.Errorf("256 bytes were cut: %q", got)
	}
}

// What is shown plainly must not be mistaken for what is shown quoted, nor the
// other way round.
func TestTextIsPlainOrQuoted(t *testing.T) {
	for s, want := range map[string]string{
		"ada@example.org": "ada@example.org",
		"":                "",
		`"ada"`:           `"\"ada\""`,
		`a\u202e`:         `"a\\u202e"`,
		"a\u202e":         `"a\u202e"`,
	} {
		if got := event.User(s).Value.String(); got != want {
			t.Errorf("%q is shown as %s, want %s", s, got, want)
		}
	}
}

// The inventory is of use only while every event says when it is written, and
// no name stands for two.
func TestASVS_16_2_1_EveryEventSaysWhenItIsWritten(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	block := f.Decls[0].(*ast.GenDecl)
	documented := 0
	for _, spec := range block.Specs {
		v := spec.(*ast.ValueSpec)
		if v.Doc != nil {
			documented++
		} else if v.Names[0].Name != "Stop" { // shares the comment of Start
			t.Errorf("%s does not say when it is written", v.Names[0].Name)
		}
		name := v.Values[0].(*ast.BasicLit).Value
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	if documented == 0 {
		t.Error("no event found")
	}
	for _, name := range event.Names() {
		if name = strconv.Quote(name); !seen[name] {
			t.Errorf("%s stands twice among the names, or is none of the inventory", name)
		}
		delete(seen, name)
	}
	for name := range seen {
		t.Errorf("%s is not among the names", name)
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "one (127.0.0.1:80)": "one (127.0.0.1:80)", `a "b"`: `a "b"`, "Zoë 山田": "Zoë 山田",
		"a\x1b[31mb": `"a\x1b[31mb"`, "a\nb": `"a\nb"`, "a\u202eb": `"a\u202eb"`, "a\u009bb": `"a\u009bb"`, "Zoë\u200b": `"Zoë\u200b"`, "\xff": `"\xff"`,
	} {
		if got := event.Printable(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}
