package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

func explainCommand(env *environment) *cobra.Command {
	var text, file string
	c := &cobra.Command{
		Use:   "explain [-c SQL | -f FILE]",
		Short: "Print the plan of every query in a script: stages, event time, state; nothing is run",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			script, err := explainScript(env, c, text, file)
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
	c.Flags().StringVarP(&text, "command", "c", "", "the statements to explain")
	c.Flags().StringVarP(&file, "file", "f", "", "a file of statements, - for standard input")
	return c
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
