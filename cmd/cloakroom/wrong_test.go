package main_test

import (
	"bytes"
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// wrong runs a command that must fail. No fault may be told by a usage text of
// forty lines, or by anything on standard output.
func wrong(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: wrong CODE LINES ARGS...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args[2:]...)
	cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{"PATH", "HOME", "CLOAKROOM_LISTEN", "CLOAKROOM_PUBLIC_ULR", "CLOAKROOM_KEYS", "CLOAKROOM_SECRET", "SECRET_KEYS"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code says it
	ts.Logf("%s", stderr.String())
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s: %s%s", got, args[0], stdout.String(), stderr.String())
	}
	if stdout.Len() > 0 {
		ts.Fatalf("on standard output: %s", stdout.String())
	}
	lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	if strconv.Itoa(len(lines)) != args[1] {
		ts.Fatalf("%d lines, want %s", len(lines), args[1])
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "cloakroom: ") || len(line) > 400 {
			ts.Fatalf("no line of ours: %q", line)
		}
	}
	ts.Check(writeFile(ts.MkAbs("faults"), stderr.Bytes()))
}
