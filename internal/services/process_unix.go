//go:build unix

package services

import (
	"errors"
	"syscall"
)

func sendKill(pid int) error     { return send(pid, syscall.SIGKILL) }
func sendStop(pid int) error     { return send(pid, syscall.SIGSTOP) }
func sendContinue(pid int) error { return send(pid, syscall.SIGCONT) }

// send signals a process; one that has ended meanwhile is no error.
func send(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
