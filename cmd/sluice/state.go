package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources/state"
)

func stateCommand(env *environment) *cobra.Command {
	var o state.ReportOptions
	var live liveFlags
	var asJSON bool
	c := &cobra.Command{
		Use: "state [CHECKPOINT | --http HOST:PORT QUERY]", Short: "How large the state of each operator is, where it lies, and how it grows",
		Long: "Sizes of the state in the newest checkpoint, from its manifests. With --top its rows are read: the largest key\n" +
			"groups and keys, and the keys that change most. Read rows themselves by\n" +
			"sluice sql -c \"SELECT * FROM state('CHECKPOINT', 'OPERATOR')\".\n" +
			"With --http, the address of a driver or at which 'sluice run' serves, the rows of a query that runs are read,\n" +
			"as they are after its newest committed batch; without --operator its operators are listed.",
		Args: oneArg("the folder of a checkpoint, or with --http a query"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := live.check(c); err != nil {
				return err
			}
			if live.http.addr != "" {
				return live.run(c.Context(), env.out, args[0], o.Operator, asJSON)
			}
			if o.Top < 0 {
				return usageError{fmt.Errorf("--top %d: want a number of keys", o.Top)}
			}
			return env.checkpoint(args[0], func(dir string) error {
				r, err := state.Describe(c.Context(), vfsx.Default, dir, o)
				if err != nil {
					return notFoundIsUsage(err)
				}
				if r.Dir = args[0]; asJSON {
					return printJSON(env.out, r)
				}
				printState(env.out, r)
				return nil
			})
		},
	}
	c.Flags().StringVar(&o.Savepoint, "savepoint", "", "look at a savepoint")
	c.Flags().StringVar(&o.Operator, "operator", "", "one operator alone")
	c.Flags().IntVar(&o.Top, "top", 0, "read the rows, and name so many key groups and keys")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	live.add(c)
	return c
}

func printState(w io.Writer, r *state.Report) {
	fmt.Fprintf(w, "checkpoint  %s\nquery       %s\nstate       after batch %d", r.Dir, r.Query, r.Batch)
	if r.Savepoint != "" {
		fmt.Fprintf(w, ", savepoint %s", r.Savepoint)
	}
	fmt.Fprintln(w)
	if len(r.Operators) == 0 {
		fmt.Fprintln(w, "no operator of the query keeps state")
	}
	for _, o := range r.Operators {
		fmt.Fprintf(w, "\n%s (%s)\n", o.Name, cmp.Or(o.Kind, "unknown"))
		if o.Computes != "" {
			fmt.Fprintf(w, "  %s\n", o.Computes)
		}
		fmt.Fprintf(w, "  %d rows, %s, in files of %s, %d shards\n", o.Rows, memory.FormatBytes(o.Bytes), memory.FormatBytes(o.FileBytes), o.Shards)
		for _, c := range o.Columns {
			fmt.Fprintf(w, "    %s\n", c)
		}
		for _, g := range o.Growth[max(0, len(o.Growth)-5):] {
			fmt.Fprintf(w, "  at batch %d: %d rows, %s, %+.1f rows a batch\n", g.Batch, g.Rows, memory.FormatBytes(g.Bytes), g.RowsPerBatch)
		}
		printKeys(w, o)
	}
}

func printKeys(w io.Writer, o state.OperatorReport) {
	groups := slices.SortedStableFunc(slices.Values(o.Groups), func(a, b state.GroupUse) int { return cmp.Compare(b.Bytes, a.Bytes) })
	for i, g := range groups[:min(len(groups), max(len(o.Largest), 1))] {
		if i == 0 {
			fmt.Fprintf(w, "  %d key groups have rows; the largest:\n", len(groups))
		}
		fmt.Fprintf(w, "    group %d: %d rows, %s\n", g.Group, g.Rows, memory.FormatBytes(g.Bytes))
	}
	for i, k := range o.Largest {
		if i == 0 {
			fmt.Fprintln(w, "  largest keys:")
		}
		fmt.Fprintf(w, "    %s: %d rows, %s\n", k.Key, k.Rows, memory.FormatBytes(k.Bytes))
	}
	for i, k := range o.Hottest {
		if i == 0 {
			fmt.Fprintln(w, "  hottest keys, by rows that differ from the checkpoint before:")
		}
		fmt.Fprintf(w, "    %s: %d rows\n", k.Key, k.Changes)
	}
}

func planDiffCommand(env *environment) *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use: "plan-diff CHECKPOINT PIPELINE.sql", Short: "What a changed query would keep of a checkpoint; nothing is touched",
		Args: twoArgs("the folder of a checkpoint", "the file of the changed pipeline"),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[1])
			if err != nil {
				return usageError{err}
			}
			opts, err := env.options(sluice.Options{CheckpointDir: env.ckDir})
			if err != nil {
				return err
			}
			var d *sluice.PlanDiff
			err = env.checkpoint(args[0], func(dir string) (err error) {
				d, err = sluice.DiffPlan(c.Context(), opts, dir, string(text), name)
				return err
			})
			if err != nil {
				return notFoundIsUsage(err)
			}
			if asJSON {
				return printJSON(env.out, d)
			}
			for _, line := range d.Lines() {
				fmt.Fprintln(env.out, line)
			}
			switch {
			case len(d.Refused) > 0:
				fmt.Fprintln(env.out, "the changed query cannot go on from this checkpoint")
			case d.Rebuilt():
				fmt.Fprintln(env.out, "the changed query is refused, unless it is started WITH BOOTSTRAP (sluice run --bootstrap): then what is rebuilt is made from input that is read again;")
				fmt.Fprintln(env.out, "or unless state.evolution is empty: then what is rebuilt begins without state")
			default:
				fmt.Fprintln(env.out, "the changed query goes on from this checkpoint")
			}
			return nil
		},
	}
	c.Flags().StringVar(&name, "query", "", "the query of the file to compare; by default the one whose checkpoint it is")
	c.Flags().StringVar(&env.ckDir, "checkpoint-dir", "checkpoints", "base folder of checkpoints that are relative or not given")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
