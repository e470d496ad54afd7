// Command cloakroom is a login service: the login page, profile and list of
// sessions for people, the same in JSON for programs.
//
//	cloakroom serve
//
// runs it with nothing configured, on 127.0.0.1:8080 and with everything it keeps
// in ./cloakroom-data. See "cloakroom --help" for the rest.
//
// It exits with 0, with 1 if what was asked for failed, and with 2 if it was
// asked wrongly or configured wrongly; then it lists every fault, a line each.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/audit"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/backend"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/keysource"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitWrong  = 2 // wrong use or configuration
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], environment{os.Stdin, os.Stdout, os.Stderr, os.Environ()}))
}

// environment is what a command has of the world.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// log is for what goes wrong while a command runs beside the service.
func (e *environment) log(cfg *config.Config) *slog.Logger {
	return audit.NewLogger(e.stderr, cfg.LogFormat, "error")
}

// run runs one command and returns its exit code.
func run(ctx context.Context, args []string, env environment) int {
	root := newRoot(&env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if quiet, ok := errors.AsType[*quietError](err); ok {
		return quiet.code
	}
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintln(env.stderr, "cloakroom: "+line)
	}
	var faults config.Faults
	var wrongUse *usageError
	var wrongConfig *backend.ConfigError
	if errors.As(err, &faults) || errors.As(err, &wrongUse) || errors.As(err, &wrongConfig) {
		return exitWrong
	}
	return exitFailed
}

// usageError is a command that was asked wrongly.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// wrong returns a usageError that ends with where to read on.
func wrong(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...) + ": see \"" + cmd.CommandPath() + " --help\""}
}

// newRoot returns the command with all its subcommands.
func newRoot(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "cloakroom",
		Short: "A login service: sign in, stay signed in, sign out",
		Long: "Cloakroom is a login service: login page, profile and list of sessions.\n\n" +
			"Every setting can be given as a flag (--public-url), as an environment variable\n" +
			"(CLOAKROOM_PUBLIC_URL) or in a TOML file (--config), in this order.",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("cloakroom {{.Version}}\n")
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help", RunE: unknown})
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newServe(env), newUser(env), newSession(env), newKey(env), newSetupLink(env), newAudit(env), newHashCost(), newDoctor(env), newVersion())
	group(root)
	return root
}

// group makes a command of others: by itself it does nothing.
func group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs // judged by unknown, which words it our way
	cmd.RunE = unknown
}

// unknown answers a group that was asked for something it has not.
func unknown(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		if keysource.HasKey(args[0]) {
			return wrong(cmd, "unknown command, which looks like a key")
		}
		if strings.Contains(args[0], "://") { // there may be a password in it
			return wrong(cmd, "unknown command, which looks like a URL")
		}
		if near := nearly(cmd, args[0]); len(near) > 0 {
			return wrong(cmd, "unknown command %.40q: did you mean %s", args[0], strings.Join(near, " or "))
		}
		return wrong(cmd, "unknown command %.40q", args[0])
	}
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return wrong(cmd, "name a command: %s", strings.Join(names, ", "))
}

// nearly returns the commands of a group that may have been meant: those that begin so, or
// differ in a letter, or in two of a longer word.
func nearly(cmd *cobra.Command, name string) []string {
	if name == "" {
		return nil // every name begins so
	}
	cmd.SuggestionsMinimumDistance = max(1, min(2, len(name)/3))
	return cmd.SuggestionsFor(name)
}

// flagError words a fault of the flags, without what was given for a value.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && keysource.HasKey(unknown.GetSpecifiedName()):
		return wrong(cmd, "unknown flag, which looks like a key")
	case errors.As(err, &unknown):
		return wrong(cmd, "unknown flag %s", dashed(unknown.GetSpecifiedName()))
	case errors.As(err, &noValue):
		hint := ""
		if strings.HasPrefix(noValue.GetFlag().Usage, "`true`") {
			hint = ", true or false"
		}
		return wrong(cmd, "flag %s needs a value%s", dashed(noValue.GetSpecifiedName()), hint)
	case errors.As(err, &bad):
		return wrong(cmd, "flag %s: not a value it takes", dashed(bad.GetFlag().Name))
	}
	return wrong(cmd, "a flag that cannot be read")
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// exactly takes n arguments and does not repeat what it was given instead: it may
// be a password.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return wrong(cmd, "%d arguments: it takes %s", len(args), what)
		}
		return nil
	}
}

// everywhere are the settings that every command takes: where things are, and
// what lets it go there.
var everywhere = []string{"data", "keys", "keys-file", "store", "store-file", "users", "users-file", "allow-plaintext", "allow-anonymous"}

// settings adds flags for the settings with these names, and --config. Without
// names it adds all.
func settings(cmd *cobra.Command, names ...string) {
	for _, s := range config.Settings(names...) {
		// The default stands in the help alone: whether a flag was given is what
		// counts, and its value is judged with those of the other sources.
		usage := s.Usage
		if s.Default != "" {
			usage += " (default: " + s.Default + ")"
		}
		cmd.Flags().String(s.Name, "", usage)
	}
	cmd.Flags().String("config", "", "TOML `file` with settings")
	cmd.Flags().SortFlags = false
}

// load reads the configuration of a command.
func load(cmd *cobra.Command, env *environment) (*config.Config, error) {
	return config.Load(given(cmd), env.environ)
}

// given returns the flags that were given.
func given(cmd *cobra.Command) map[string]string {
	flags := make(map[string]string)
	cmd.Flags().Visit(func(f *pflag.Flag) { flags[f.Name] = f.Value.String() })
	return flags
}
