package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

func explainCommand(env *environment) *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain [-c SQL | -f FILE | --http HOST:PORT [--watermark | --batch N] QUERY]",
		Short: "Print the plan of every query in a script, or why a query that runs is where it is",
		Long: "With -c or -f the plan of every query in a script is printed: stages, event time, state; nothing is run.\n" +
			"With --http, the address at which 'sluice run' serves, it is told of a query that runs what holds its\n" +
			"watermark back and which windows wait, or where the time of one of its last batches went.",
		Args: func(c *cobra.Command, args []string) error { return f.check(c, args) },
		RunE: func(c *cobra.Command, args []string) error {
			if f.http.addr != "" {
				return explainRunning(c.Context(), env, f, args[0])
			}
			script, err := explainScript(env, c, f.text, f.file)
			if err != nil {
				return err
			}
			s, err := env.session(sluice.Options{CheckpointDir: "checkpoints", Pipeline: true, ExplainOnly: true})
			if err != nil {
				return err
			}
			err = s.Run(c.Context(), script, func(r *sluice.Result) error {
				if r.Plan != "" {
					_, err := fmt.Fprintln(env.out, r.Plan)
					return err
				}
				return nil
			})
			return errors.Join(err, s.Close())
		},
	}
	c.Flags().StringVarP(&f.text, "command", "c", "", "the statements to explain")
	c.Flags().StringVarP(&f.file, "file", "f", "", "a file of statements, - for standard input")
	f.http.add(c, "HOST:PORT at which 'sluice run' serves the query")
	c.Flags().BoolVar(&f.watermark, "watermark", false, "what holds the query's watermark back, and which windows wait (the default)")
	c.Flags().Int64Var(&f.batch, "batch", -1, "where the time of this batch went")
	return c
}

type explainFlags struct {
	text, file string
	http       clientFlags
	watermark  bool
	batch      int64
}

func (f *explainFlags) check(c *cobra.Command, args []string) error {
	batch := c.Flags().Changed("batch")
	switch {
	case f.http.addr == "" && (f.watermark || batch):
		return usageError{errors.New("--watermark and --batch are of a query that runs: say with --http HOST:PORT where")}
	case f.http.addr == "":
		return noArgs(c, args)
	case len(args) != 1:
		return usageError{errors.New("with --http give the name of one query")}
	case f.text != "" || f.file != "" || f.watermark && batch:
		return usageError{errors.New("give one of -c, -f, --watermark and --batch")}
	case batch && f.batch < 0:
		return usageError{fmt.Errorf("--batch %d: want a number of a batch, from 0", f.batch)}
	}
	return nil
}

// explainRunning asks the process that runs a query.
func explainRunning(ctx context.Context, env *environment, f explainFlags, query string) error {
	path := "/api/queries/" + url.PathEscape(query) + "/watermark"
	if f.batch >= 0 {
		path = fmt.Sprintf("/api/queries/%s/batches/%d?format=text", url.PathEscape(query), f.batch)
	}
	var said struct{ Lines []string }
	if err := f.http.ask(ctx, http.MethodGet, path, &said); err != nil {
		return err
	}
	for _, line := range said.Lines {
		if _, err := fmt.Fprintln(env.out, line); err != nil {
			return err
		}
	}
	return nil
}

func explainScript(env *environment, c *cobra.Command, text, file string) (string, error) {
	switch {
	case c.Flags().Changed("command") == (file != ""):
		return "", usageError{fmt.Errorf("give one of -c and -f")}
	case file == "-":
		b, err := io.ReadAll(env.in)
		return string(b), err
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return "", usageError{err}
		}
		return string(b), nil
	}
	return text, nil
}
