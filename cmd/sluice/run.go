package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

type runFlags struct {
	once      bool
	untilIdle time.Duration
	http      httpFlags
	format    string
	bootstrap bool
}

func runCommand(env *environment) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run PIPELINE.sql",
		Short: "Run the streaming queries of a file until they end",
		Long: "Run the statements of a file; every CREATE STREAMING QUERY and every INSERT INTO from a stream is\n" +
			"started and runs until it ends or is interrupted. Started again with the same command, queries go on\n" +
			"from their checkpoints.",
		Args: oneArg("the file of the pipeline"),
		RunE: func(c *cobra.Command, args []string) error {
			if f.untilIdle < 0 {
				return usageError{fmt.Errorf("--until-idle %s: want a duration such as 10s", f.untilIdle)}
			}
			if !knownFormat(f.format) {
				return usageError{fmt.Errorf("--format %s: want table, csv, json or arrow", f.format)}
			}
			if err := f.http.check(); err != nil {
				return err
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			s, err := env.session(sluice.Options{CheckpointDir: env.ckDir, Pipeline: true, Once: f.once})
			if err != nil {
				return err
			}
			if f.bootstrap {
				if err := s.Set("state.evolution", "bootstrap"); err != nil {
					return errors.Join(err, s.Close())
				}
			}
			return errors.Join(pipeline(c.Context(), env, s, string(text), f), s.Close())
		},
	}
	c.Flags().BoolVar(&f.once, "once", false, "process what is there now, then end, whatever the queries' triggers say")
	c.Flags().BoolVar(&f.bootstrap, "bootstrap", false, "of a query that has changed, rebuild the state that it lacks from input that is read again")
	c.Flags().StringVar(&env.ckDir, "checkpoint-dir", "checkpoints", "base folder of checkpoints that are relative or not given")
	c.Flags().DurationVar(&f.untilIdle, "until-idle", 0, "end when no query has had data for so long")
	f.http.add(c)
	c.Flags().StringVar(&f.format, "format", "table", "how rows of SELECT statements are printed: table, csv, json or arrow")
	return c
}

// pipeline runs a script and waits for its queries. Rows go to standard output;
// what statements say about themselves goes where progress goes, so that a
// console sink's output can be read by a program.
func pipeline(ctx context.Context, env *environment, s *sluice.Session, text string, f runFlags) (err error) {
	if f.http.addr != "" {
		server, err := f.http.serve(env, s)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
	}
	view := newProgressView(env.err, s)
	defer view.close()
	statements := 0
	show := func(ctx context.Context, r *sluice.Result) error {
		statements++
		return printResult(ctx, env.out, env.err, r, f.format)
	}
	idle := func() {}
	defer func() { idle() }()
	r := &script{env: env, s: s}
	err = r.run(ctx, text, false, show, func() {
		if f.untilIdle > 0 {
			idle = s.StopWhenIdle(f.untilIdle)
		}
	})
	view.close()
	if err == nil && statements == 0 {
		return usageError{errors.New("the file holds no statement")}
	}
	if err == nil {
		view.summary()
	}
	return err
}
