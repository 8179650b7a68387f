package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sluice-stream/sluice"
)

func sqlCommand(env *environment) *cobra.Command {
	var text, file, format string
	c := &cobra.Command{
		Use:   "sql [-c SQL | -f FILE]",
		Short: "Run statements and print their rows; without -c and -f, a shell",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !knownFormat(format) {
				return usageError{fmt.Errorf("--format %s: want table, csv, json or arrow", format)}
			}
			script, interactive, err := scriptOf(env, c, text, file)
			if err != nil {
				return err
			}
			s, err := env.session(sluice.Options{CheckpointDir: env.ckDir})
			if err != nil {
				return err
			}
			if interactive {
				return errors.Join(shell(c.Context(), env, s, format), s.Close())
			}
			return errors.Join(oneShot(c.Context(), env, s, script, format), s.Close())
		},
	}
	c.Flags().StringVarP(&text, "command", "c", "", "the statements to run")
	c.Flags().StringVarP(&file, "file", "f", "", "a file of statements, - for standard input")
	c.Flags().StringVar(&format, "format", "table", "table, csv, json or arrow")
	c.Flags().StringVar(&env.ckDir, "checkpoint-dir", "checkpoints", "base folder of checkpoints")
	return c
}

// scriptOf returns the text to run, or that a shell is wanted.
func scriptOf(env *environment, c *cobra.Command, text, file string) (script string, interactive bool, err error) {
	switch {
	case c.Flags().Changed("command") && file != "":
		return "", false, usageError{fmt.Errorf("give -c or -f, not both")}
	case c.Flags().Changed("command"):
		return text, false, nil
	case file == "-":
		b, err := io.ReadAll(env.in)
		return string(b), false, err
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return "", false, usageError{err}
		}
		return string(b), false, nil
	}
	if f, ok := env.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "", true, nil
	}
	b, err := io.ReadAll(env.in) // a pipe is a script
	if err != nil {
		err = fmt.Errorf("read standard input: %w", err)
	}
	return string(b), false, err
}

// oneShot runs a script. The first interrupt cancels a statement that runs once;
// streaming queries finish their running batch.
func oneShot(ctx context.Context, env *environment, s *sluice.Session, text, format string) error {
	r := &script{env: env, s: s}
	show := func(ctx context.Context, res *sluice.Result) error {
		return printResult(ctx, env.out, env.out, res, format)
	}
	return r.run(ctx, text, true, show, func() {})
}
