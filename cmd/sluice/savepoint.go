package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/driver/filelog"
)

// savepointCommands are those of `sluice checkpoint` that make and drop savepoints.
func savepointCommands(env *environment) []*cobra.Command {
	var server clientFlags
	var asJSON bool
	save := &cobra.Command{
		Use: "save DIR|QUERY NAME", Short: "Make a savepoint: a checkpoint that stays until it is dropped",
		Long: "Make a savepoint of the newest checkpoint in DIR, which no query has open; or with --http of a query that\n" +
			"runs in the process that serves this address.",
		Args: twoArgs("the folder of a checkpoint, or with --http the name of a query", "a name for the savepoint"),
		RunE: func(c *cobra.Command, args []string) error {
			sp, err := savepoint(c.Context(), server, args[0], args[1])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(env.out, sp)
			}
			fmt.Fprintf(env.out, "savepoint %s of query %s holds the state after batch %d, in %s\n", sp.Name, sp.Query, sp.Batch, sp.Checkpoint)
			return nil
		},
	}
	server.add(save, "HOST:PORT of the process in which the query runs (sluice run --http)")
	list := &cobra.Command{
		Use: "savepoints DIR", Short: "One line for each savepoint of a checkpoint", Args: oneArg("the folder of a checkpoint"),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := sluice.Savepoints(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(env.out, all)
			}
			for _, sp := range all {
				fmt.Fprintf(env.out, "%s  query %s  batch %d  %s\n", sp.Name, sp.Query, sp.Batch, sp.Created.Format(time.RFC3339))
			}
			return nil
		},
	}
	drop := &cobra.Command{
		Use: "drop DIR NAME", Short: "Remove a savepoint; its query deletes the files that only it needed", Args: twoArgs("the folder of a checkpoint", "the name of a savepoint"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := sluice.DropSavepoint(args[0], args[1]); err != nil {
				return notFoundIsUsage(err)
			}
			fmt.Fprintf(env.out, "savepoint %s dropped\n", args[1])
			return nil
		},
	}
	for _, c := range []*cobra.Command{save, list} {
		c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	}
	return []*cobra.Command{save, list, drop}
}

func twoArgs(first, second string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 2 {
			return usageError{fmt.Errorf("%s takes two arguments, %s and %s", c.CommandPath(), first, second)}
		}
		return nil
	}
}

func notFoundIsUsage(err error) error {
	if errors.Is(err, filelog.ErrNotFound) {
		return usageError{err}
	}
	return err
}

// savepoint makes one here, or asks the process that runs the query to.
func savepoint(ctx context.Context, server clientFlags, of, name string) (sluice.Savepoint, error) {
	if server.addr == "" {
		sp, err := sluice.SaveCheckpoint(of, name)
		if errors.Is(err, filelog.ErrInUse) {
			err = fmt.Errorf("%w; a running query is saved by its own process: SAVE STREAMING QUERY, or --http HOST:PORT where it serves", err)
		}
		return sp, notFoundIsUsage(err)
	}
	var sp sluice.Savepoint
	path := "/api/queries/" + url.PathEscape(of) + "/savepoints/" + url.PathEscape(name)
	return sp, server.ask(ctx, http.MethodPost, path, &sp)
}
