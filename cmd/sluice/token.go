package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice/internal/auth"
)

// tokenDir is the folder of a server's tokens.
type tokenDir struct{ dir string }

func (d *tokenDir) add(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&d.dir, "auth-dir", "", "the folder with the tokens")
	return c
}

func (d *tokenDir) file() (string, error) {
	if d.dir == "" {
		return "", usageError{errors.New("--auth-dir DIR: say where the tokens lie")}
	}
	return filepath.Join(d.dir, "tokens"), nil
}

// tokenCommand makes, lists and revokes the tokens of a server.
func tokenCommand(env *environment) *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Make, list and revoke the tokens that a server lets in",
		Args: knownCommand, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(tokenCreate(env), tokenList(env), tokenRevoke(env))
	return c
}

func tokenCreate(env *environment) *cobra.Command {
	var d tokenDir
	var role, name string
	c := &cobra.Command{
		Use: "create --auth-dir DIR --name NAME --role ROLE", Short: "Make a token and print it, once: only its hash is kept", Args: noArgs,
		Long: "Make a token and print it to standard output, once: only its hash is kept. A viewer reads states, progress and\n" +
			"metrics; an operator makes savepoints and changes how queries run; an admin may do everything. A server that runs\n" +
			"knows it at once.",
		RunE: func(*cobra.Command, []string) error {
			at, err := d.file()
			if err != nil {
				return err
			}
			r, err := auth.ParseRole(role)
			if err != nil {
				return usageError{fmt.Errorf("--role: %w", err)}
			}
			token, err := auth.Create(at, name, r, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.out, token)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "whose it is; the audit log has this name")
	c.Flags().StringVar(&role, "role", "", "viewer, operator or admin")
	return d.add(c)
}

func tokenList(env *environment) *cobra.Command {
	var d tokenDir
	return d.add(&cobra.Command{
		Use: "list --auth-dir DIR", Short: "Print names and roles of the tokens", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			at, err := d.file()
			if err != nil {
				return err
			}
			all, err := auth.List(at)
			if err != nil {
				return err
			}
			for _, t := range all {
				fmt.Fprintf(env.out, "%s  %s  %s\n", t.Name, t.Role, t.Created.Format(time.RFC3339))
			}
			return nil
		},
	})
}

func tokenRevoke(env *environment) *cobra.Command {
	var d tokenDir
	return d.add(&cobra.Command{
		Use: "revoke --auth-dir DIR NAME", Short: "Let a token in no longer, at once", Args: oneArg("the name of a token"),
		RunE: func(_ *cobra.Command, args []string) error {
			at, err := d.file()
			if err != nil {
				return err
			}
			if err := auth.Revoke(at, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(env.out, "token %s revoked\n", args[0])
			return nil
		},
	})
}
