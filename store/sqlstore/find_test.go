package sqlstore_test

import (
	"testing"

	"github.com/cloakroom-dev/cloakroom/store/sqlstore"
)

// TestFind: a part of a column of bytes is found byte by byte. Nothing in it is a
// pattern, a quote or an end.
func TestFind(t *testing.T) { each(t, proveFind) }

func proveFind(t *testing.T, db database) {
	d, ctx := db.Dialect(), t.Context()
	s := sqlstore.Schema{Component: "things", Versions: [][]string{{"CREATE TABLE things (b {key:64} NOT NULL){table}"}}}
	if err := s.Apply(ctx, db); err != nil {
		t.Fatal(err)
	}
	const held = "a\\%_'\"\x00\xffBé"
	if _, err := db.Exec(ctx, d.SQL("INSERT INTO things (b) VALUES (?)"), []byte(held)); err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]int{
		"a": 1, "\\": 2, "%": 3, "_": 4, "'": 5, "\"": 6, "\x00": 7, "\xff": 8, "B": 9, "é": 10, "\xa9": 11, "%_": 3, held: 1,
		"A": 0, "b": 0, "e": 0, "a%": 0, "__": 0, "a\x00": 0, held + "x": 0,
	} {
		var at int
		if err := db.Reader().QueryRowContext(ctx, d.SQL("SELECT "+d.Find("b")+" FROM things"), []byte(part)).Scan(&at); err != nil || at != want {
			t.Errorf("%q is found at %d, %v, want %d", part, at, err, want)
		}
	}
}
