package main_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // to make a database that is newer than the command

	"github.com/cloakroom-dev/cloakroom/keyring"
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
			// note NAME FILE writes a signed note of the instances, on the key that a file names.
			"note": func(ts *testscript.TestScript, _ bool, args []string) {
				db, err := sql.Open("sqlite", ts.MkAbs("cloakroom-data/cloakroom.db"))
				ts.Check(err)
				defer db.Close()
				ring, err := keyring.Load(context.Background(), keyring.File(ts.MkAbs("cloakroom-data/keys")))
				ts.Check(err)
				text := fmt.Sprintf("%s %d", strings.TrimSpace(ts.ReadFile(args[1])), time.Now().Unix())
				signer, tag := ring.Purpose(args[0]).Sign([]byte(text))
				text += fmt.Sprintf(" %v %x", signer, tag)
				res, err := db.Exec("UPDATE cloakroom_signals SET note = ? WHERE name = ?", []byte(text), []byte("note/"+args[0]))
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
