package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/doctor/probe"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
	"github.com/cloakroom-dev/cloakroom/internal/secretfile"
)

func newDoctor(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with this installation, and say what to do",
		Long: "Look for what is wrong with this installation: settings, files, keys, servers, tables,\n" +
			"certificate. Give it the settings that the service has. It changes nothing, and makes\n" +
			"nothing, whether the service runs or not.\n\n" +
			"With --url it visits the service under its public address as a browser does; with --user\n" +
			"and a password on standard input (--password-stdin) it signs in there, and out again.\n\n" +
			"It ends with 0 if it found nothing, with 1 for warnings and with 2 for errors.",
		Args: exactly(0, "none"),
	}
	asJSON := cmd.Flags().Bool("json", false, "print a JSON document")
	p := new(probe.Options)
	cmd.Flags().StringVar(&p.URL, "url", "", "visit the service under this public `address`, as https://login.example.org")
	cmd.Flags().StringVar(&p.User, "user", "", "sign in there as this `user`")
	fromStdin := cmd.Flags().Bool("password-stdin", false, "read the user's password from standard input, one line")
	cmd.Flags().StringVar(&p.CA, "ca", "", "`file` with certificates of authorities to believe there beside the system's")
	settings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case p.URL == "" && (p.User != "" || *fromStdin || p.CA != ""):
			return wrong(cmd, "--user, --password-stdin and --ca go with --url")
		case p.User != "" && !*fromStdin:
			return wrong(cmd, "give the user's password as well: --password-stdin")
		case p.User == "" && *fromStdin:
			return wrong(cmd, "say whose password it is: --user NAME")
		}
		if err := secretfile.CheckPath(p.CA, "file"); err != nil {
			return wrong(cmd, "--ca: %v", err)
		}
		if *fromStdin {
			pw, err := readPassword(cmd, env, true, func(string) error { return nil })
			if err != nil {
				return err
			}
			p.Password = pw
		}
		return examine(cmd, env, p, *asJSON)
	}
	return cmd
}

// examine runs the doctor and prints what it found.
func examine(cmd *cobra.Command, env *environment, p *probe.Options, asJSON bool) error {
	opts := doctor.Options{Settings: config.Examine(given(cmd), env.environ), Environ: env.environ, Version: version()}
	if p.URL != "" {
		c := opts.Settings.Config
		p.Prefix = c.Prefix
		p.Service = probe.Service{PublicURL: c.Origin(), TLS: c.TLS(), TrustedProxies: c.TrustedProxies}
		opts.Public = func(ctx context.Context) finding.Result { return probe.Run(ctx, *p) }
	}
	report := doctor.Run(cmd.Context(), opts)
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		err = report.WriteText(cmd.OutOrStdout())
	}
	if err != nil {
		return err
	}
	switch finding.Worst(report.Findings) {
	case finding.Error:
		return &quietError{exitWrong}
	case finding.Warning:
		return &quietError{exitFailed}
	}
	return nil
}

// quietError is the exit code of a command that has said all already.
type quietError struct{ code int }

func (e *quietError) Error() string { return "" }
