package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

func newKey(env *environment) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make, list, rotate and retire keys"}
	cmd.AddCommand(newKeyNew(), newKeyList(env), newKeyRotate(env), newKeyRetire(env))
	group(cmd)
	return cmd
}

func newKeyNew() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Print one new key, as a line of a key file",
		Long: "Print one new key on standard output, as a line of a key file. It is kept nowhere.\n" +
			"Put it where the setting keys says, and give every instance the same:\n\n" +
			"  a file                 (umask 077; cloakroom key new > keys)   --keys file:keys\n" +
			"  a mounted secret       cloakroom key new | docker secret create keys -   --keys-file /run/secrets/keys\n" +
			"  a variable             SECRET_KEYS=\"$(cloakroom key new)\"   --keys env:SECRET_KEYS\n" +
			"  a manager of secrets   cloakroom key new | vault kv put -mount=secret login keys=-   --keys vault:secret/login\n\n" +
			"To exchange a key that is in use for a new one, see \"cloakroom key rotate\".",
		Args: exactly(0, "none"),
	}
	next := cmd.Flags().Bool("next", false, "in the state next: a key that is accepted and signs nothing yet, to stand beside the one that does")
	// It takes what every command takes, and needs none of it.
	settings(cmd, everywhere...)
	for _, s := range append([]string{"config"}, everywhere...) {
		_ = cmd.Flags().MarkHidden(s)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		k := keyring.Generate()
		if *next {
			k = k.AsNext()
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), k.Text())
		return err
	}
	return cmd
}
