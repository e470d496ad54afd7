package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/password"
)

// policy says which passwords may be set, by whatever way: the names of the product
// and its host are no passwords here, nor are the operator's own words.
func policy(cfg *config.Config) *password.Policy {
	words := append([]string{"cloakroom"}, cfg.BannedWords...)
	if cfg.PublicURL != nil {
		words = append(words, cfg.PublicURL.Hostname())
	}
	return &password.Policy{Context: words}
}

// readPassword reads the password of a new user: with fromStdin the one line on
// standard input, else what a person types twice. It never comes from an
// argument, which every process of the machine can read. It is judged before it is
// typed again.
func readPassword(cmd *cobra.Command, env *environment, fromStdin bool, judge func(string) error) (string, error) {
	if fromStdin {
		pw, err := passwordLine(env.stdin)
		if err == nil {
			err = judge(pw)
		}
		return pw, err
	}
	f, ok := env.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", wrong(cmd, "standard input is no terminal to type a password on: give it there with --password-stdin")
	}
	first, err := typed(env, f, fmt.Sprintf("Password, of %d characters at least: ", password.DefaultMinLength))
	if err != nil {
		return "", err
	}
	if err := judge(first); err != nil {
		return "", err
	}
	second, err := typed(env, f, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the passwords differ")
	}
	return first, nil
}

func typed(env *environment, f *os.File, prompt string) (string, error) {
	fmt.Fprint(env.stderr, prompt)
	defer echoAfterInterrupt(env, f)()
	pw, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(env.stderr)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return string(pw), nil
}

// echoAfterInterrupt lets ^C end the program with a terminal that echoes again.
func echoAfterInterrupt(env *environment, f *os.File) (stop func()) {
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return func() {} // no terminal: ReadPassword says so
	}
	interrupted, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(interrupted, os.Interrupt)
	go func() {
		select {
		case <-interrupted:
			_ = term.Restore(int(f.Fd()), state)
			fmt.Fprintln(env.stderr)
			os.Exit(exitFailed)
		case <-done:
		}
	}()
	return func() { signal.Stop(interrupted); close(done) }
}

// passwordLine reads one line, without its end. A second one is refused: it would
// be anybody's guess whether it belongs to the password.
func passwordLine(r io.Reader) (string, error) {
	text, err := io.ReadAll(bufio.NewReader(io.LimitReader(r, password.MaxLength+16)))
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case rest != "":
		return "", errors.New("password: more than one line on standard input")
	case !utf8.ValidString(line):
		return "", errors.New("password: not UTF-8")
	}
	return line, nil
}
