package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

// errDiffers ends a replay whose output is not what was committed.
var errDiffers = errors.New("the replay differs from what was committed")

func replayCommand(env *environment) *cobra.Command {
	var r sluice.Replay
	var file, with, batches string
	var asJSON bool
	c := &cobra.Command{
		Use: "replay QUERY -f PIPELINE.sql --batch N[..M]", Short: "Run recorded batches again, and compare them with what was committed",
		Long: "Run batches that a query has committed again, from their own plans and the newest checkpoint before them, into other\n" +
			"sinks: by default none, with --print the console, with --into a folder. Output and state are compared with what was\n" +
			"committed, bit for bit. --with runs a changed query instead, to see what it would have put out.",
		Args: oneArg("the name of a query"),
		RunE: func(c *cobra.Command, args []string) error {
			r.Query = args[0]
			if err := readReplay(&r, file, with, batches); err != nil {
				return usageError{err}
			}
			opts, err := env.options(sluice.Options{CheckpointDir: env.ckDir})
			if err != nil {
				return err
			}
			rep, err := sluice.ReplayBatches(c.Context(), opts, r)
			if err != nil {
				return notFoundIsUsage(err)
			}
			if asJSON {
				err = printJSON(env.out, rep)
			} else {
				printReplay(env, rep)
			}
			if err == nil && !rep.Same() {
				err = errDiffers
			}
			return err
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the pipeline that declares the query")
	c.Flags().StringVar(&with, "with", "", "a pipeline with a changed query of the same name, which is run instead")
	c.Flags().StringVar(&batches, "batch", "", "a batch, or the first and the last of several: 12 or 12..15")
	c.Flags().StringVar(&r.Into, "into", "", "write the output below this folder, a folder for each sink")
	c.Flags().StringVar(&r.Format, "format", "json", "format of the files of --into: json, csv or parquet")
	c.Flags().BoolVar(&r.Print, "print", false, "print the output to standard output, as JSON")
	c.Flags().StringVar(&env.ckDir, "checkpoint-dir", "checkpoints", "base folder of checkpoints that are relative or not given")
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

func readReplay(r *sluice.Replay, file, with, batches string) error {
	if file == "" || batches == "" {
		return errors.New("give the pipeline by -f and the batches by --batch")
	}
	first, last, several := strings.Cut(batches, "..")
	var err1, err2 error
	r.From, err1 = strconv.ParseInt(first, 10, 64)
	if r.To = r.From; several {
		r.To, err2 = strconv.ParseInt(last, 10, 64)
	}
	if err := cmp.Or(err1, err2); err != nil || r.To < r.From || r.From < 0 {
		return fmt.Errorf("--batch %s: want a batch such as 12, or 12..15", batches)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	r.Script = string(text)
	if with != "" {
		if text, err = os.ReadFile(with); err != nil {
			return err
		}
		r.With = string(text)
	}
	return nil
}

func printReplay(env *environment, rep *sluice.ReplayReport) {
	w := env.out
	from := "the beginning"
	if rep.State >= 0 {
		from = fmt.Sprintf("the state after batch %d", rep.State)
	}
	fmt.Fprintf(w, "query %s, from %s\n", rep.Query, from)
	for _, n := range rep.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	for _, b := range rep.Batches {
		var rows []string
		for _, s := range slices.Sorted(maps.Keys(b.Rows)) {
			rows = append(rows, fmt.Sprintf("%d rows to %s", b.Rows[s], s))
		}
		verdict := "the same as committed"
		switch {
		case rep.Changed:
			verdict = "by the changed query"
		case len(b.Differs) > 0:
			verdict = "DIFFERS: " + strings.Join(b.Differs, "; ")
		}
		fmt.Fprintf(w, "batch %d: %s, %s\n", b.Batch, strings.Join(rows, ", "), verdict)
	}
}
