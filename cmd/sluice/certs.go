package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice/internal/certs"
)

// certsCommand makes and shows certificates of a cluster.
func certsCommand(env *environment) *cobra.Command {
	c := &cobra.Command{
		Use: "certs", Short: "Make and show the certificates by which processes know each other",
		Args: knownCommand, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(certsInit(env), certsIssue(env), certsShow(env))
	return c
}

func certsInit(env *environment) *cobra.Command {
	var dir, cluster string
	c := &cobra.Command{
		Use: "init --dir DIR", Short: "Make an authority: ca.crt, and ca.key, which no node needs", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if dir == "" {
				return usageError{errors.New("--dir DIR: say where the authority is to lie")}
			}
			if err := certs.Init(dir, cluster, time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(env.out, "authority of cluster %s in %s; keep %s where no node is\n", cluster, dir, filepath.Join(dir, "ca.key"))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the folder of the authority")
	c.Flags().StringVar(&cluster, "cluster", "sluice", "the cluster's name, which stands in every certificate")
	return c
}

func certsIssue(env *environment) *cobra.Command {
	var dir, out, role string
	var ids, hosts []string
	var days int
	c := &cobra.Command{
		Use:   "issue --dir DIR --role ROLE --id ID[,ID..] --hosts HOST[,HOST..]",
		Short: "Make a certificate: a folder for --tls-dir", Args: noArgs,
		Long: "Make a certificate of the authority in --dir, with its key and the authority's certificate beside it: a folder\n" +
			"for --tls-dir. A driver and a worker are connected to, so theirs say by which hosts; a client's has none.",
		RunE: func(*cobra.Command, []string) error {
			if dir == "" || len(ids) == 0 {
				return usageError{errors.New("say with --dir where the authority is, and with --role and --id whose the certificate is to be")}
			}
			if days < 1 {
				return usageError{fmt.Errorf("--days %d: want at least 1", days)}
			}
			if out == "" {
				out = filepath.Join(dir, role+"-"+filepath.Base(ids[0]))
			}
			life := time.Duration(days) * 24 * time.Hour
			if err := certs.Issue(dir, out, certs.Request{Role: certs.Role(role), IDs: ids, Hosts: hosts, Life: life}, time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(env.out, "certificate of %s %s in %s, for %d days\n", role, strings.Join(ids, ", "), out, days)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the folder of the authority")
	c.Flags().StringVar(&out, "out", "", "the folder to make; default ROLE-ID below --dir")
	c.Flags().StringVar(&role, "role", "", "driver, worker or client")
	c.Flags().StringSliceVar(&ids, "id", nil, "the node's ID; several for a certificate that nodes share")
	c.Flags().StringSliceVar(&hosts, "hosts", nil, "DNS names and addresses at which the node is reached")
	c.Flags().IntVar(&days, "days", int(certs.NodeLife/(24*time.Hour)), "how long it is valid")
	return c
}

func certsShow(env *environment) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "show DIR", Short: "Print what the certificates of a folder say, and whether they are valid", Args: oneArg("a folder with certificates"),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := certs.Show(args[0], time.Now())
			if err != nil {
				return err
			}
			problems := 0
			for _, i := range all {
				if i.Problem != "" {
					problems++
				}
			}
			if asJSON {
				err = printJSON(env.out, all)
			} else {
				for _, i := range all {
					fmt.Fprintf(env.out, "%s  %s\n", i.File, i.Subject)
					fmt.Fprintf(env.out, "  valid    %s to %s\n", i.From.UTC().Format(time.RFC3339), i.Until.UTC().Format(time.RFC3339))
					for _, u := range i.Identity {
						fmt.Fprintf(env.out, "  is       %s\n", u)
					}
					if len(i.Hosts) > 0 {
						fmt.Fprintf(env.out, "  hosts    %s\n", strings.Join(i.Hosts, " "))
					}
					fmt.Fprintf(env.out, "  SHA-256  %s\n", i.Fingerprint)
					if i.Problem != "" {
						fmt.Fprintf(env.out, "  problem  %s\n", i.Problem)
					}
				}
			}
			if err == nil && problems > 0 {
				err = fmt.Errorf("%s: %d of %d certificates are not valid", args[0], problems, len(all))
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
