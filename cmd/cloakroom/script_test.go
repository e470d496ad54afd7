package main_test

import (
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // to make a database that is newer than the command
)

// TestScripts runs the commands as an operator types them: testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// occupy NAME listens on a free port and puts its address into $NAME.
			"occupy": func(ts *testscript.TestScript, _ bool, args []string) {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Defer(func() { ln.Close() })
				ts.Setenv(args[0], ln.Addr().String())
			},
			// sql FILE STATEMENT runs a statement on a database.
			"sql": func(ts *testscript.TestScript, _ bool, args []string) {
				db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
				ts.Check(err)
				defer db.Close()
				_, err = db.Exec(args[1])
				ts.Check(err)
			},
			// note NAME FILE writes a note of the instances, with the text of a file.
			"note": func(ts *testscript.TestScript, _ bool, args []string) {
				db, err := sql.Open("sqlite", ts.MkAbs("cloakroom-data/cloakroom.db"))
				ts.Check(err)
				defer db.Close()
				res, err := db.Exec("UPDATE cloakroom_signals SET note = ? WHERE name = ?", []byte(strings.TrimSpace(ts.ReadFile(args[1]))), []byte("note/"+args[0]))
				ts.Check(err)
				if n, err := res.RowsAffected(); n != 1 || err != nil {
					ts.Fatalf("%d notes written, %v", n, err)
				}
			},
			// wrong CODE LINES ARGS... runs cloakroom, which must end with CODE and
			// say why on so many lines, each of which begins as it should.
			"wrong": wrong,
		},
	})
}
