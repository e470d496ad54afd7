package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/keyring"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make keys"}
	cmd.AddCommand(&cobra.Command{
		Use:   "new",
		Short: "Print one new key, as a line of a key file",
		Long: "Print one new key on standard output, as a line of a key file. It is kept nowhere:\n\n" +
			"  (umask 077; cloakroom key new > keys)",
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), keyring.Generate().Text())
			return err
		},
	})
	group(cmd)
	return cmd
}
