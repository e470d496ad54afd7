package sqlite_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// childVar names the part that this program plays when a test starts it again as
// another process; its value is a key of children.
const childVar = "CLOAKROOM_TEST_CHILD"

// children are the parts. Each gets the path of the database.
var children = map[string]func(path string) error{}

func TestMain(m *testing.M) {
	if part := os.Getenv(childVar); part != "" {
		if err := children[part](os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child returns the command that plays a part in another process.
func child(t *testing.T, part, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, path)
	cmd.Env = append(os.Environ(), childVar+"="+part)
	return cmd
}
