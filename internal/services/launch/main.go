// Command launch runs a command beside one server of each kind, and ends them
// with it: see scripts/services.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/cloakroom-dev/cloakroom/internal/services"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "services: no command: scripts/services run COMMAND ARGUMENT...")
		os.Exit(2)
	}
	os.Exit(run(os.Args[1:]))
}

// run returns the exit code of the command.
func run(command []string) int {
	dir, err := os.MkdirTemp("", "cloakroom")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // what is in it is closed to others
		return failed(err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	stop, err := services.Shared(dir)
	defer stop()
	if err != nil {
		return failed(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), services.Env+"="+dir)
	if err := cmd.Start(); err != nil {
		return failed(err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // and wait for it
		}
	}()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := exit.ExitCode(); code > 0 {
			return code
		}
		return 1 // it was ended by a signal
	}
	if err != nil {
		return failed(err)
	}
	return 0
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
