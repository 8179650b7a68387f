package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

func checkpointCommand(env *environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "checkpoint",
		Short: "List, describe and verify checkpoints, and make savepoints of them",
		Args:  knownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var asJSON bool
	list := &cobra.Command{
		Use: "list DIR", Short: "One line for each checkpoint in or below DIR", Args: oneArg("a folder"),
		RunE: func(_ *cobra.Command, args []string) error {
			return env.checkpoint(args[0], func(dir string) error { return listCheckpoints(env.out, dir, asJSON) })
		},
	}
	describe := &cobra.Command{
		Use: "describe DIR", Short: "What a checkpoint holds: batches, offsets, watermark, state, sinks", Args: oneArg("the folder of a checkpoint"),
		RunE: func(_ *cobra.Command, args []string) error {
			return env.checkpoint(args[0], func(dir string) error {
				r, err := filelog.Inspect(vfsx.Default, dir)
				if err != nil {
					return usageError{err}
				}
				if asJSON {
					return printJSON(env.out, r)
				}
				describeCheckpoint(env.out, r)
				return nil
			})
		},
	}
	verify := &cobra.Command{
		Use: "verify DIR", Short: "Read every byte of a checkpoint and say whether a start would trust it", Args: oneArg("the folder of a checkpoint"),
		RunE: func(c *cobra.Command, args []string) error {
			return env.checkpoint(args[0], func(dir string) error { return verifyCheckpoint(c.Context(), env.out, dir, asJSON) })
		},
	}
	for _, sub := range []*cobra.Command{list, describe, verify} {
		sub.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	}
	c.AddCommand(list, describe, verify)
	c.AddCommand(savepointCommands(env)...)
	return c
}

// findCheckpoints returns the folders at and below dir that are checkpoints.
func findCheckpoints(dir string) ([]string, error) {
	if vfsx.Mounted(dir) {
		if !filelog.Exists(vfsx.Default, dir) {
			return nil, nil
		}
		return []string{dir}, nil
	}
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && filelog.Exists(vfsx.Default, path) {
			found = append(found, path)
			return filepath.SkipDir
		}
		return nil
	})
	return found, err
}

// checkpoint calls f with the folder of a checkpoint, which for one in a bucket is
// there as long as f runs.
func (e *environment) checkpoint(name string, f func(dir string) error) error {
	opts, err := e.options(sluice.Options{})
	if err != nil {
		return err
	}
	dir, done, err := sluice.OpenCheckpoint(name, opts.Settings)
	if err != nil {
		return err
	}
	return errors.Join(f(dir), done())
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// listed is a line of list.
type listed struct {
	Dir       string   `json:"dir"`
	Query     string   `json:"query"` // its name; empty if it cannot be read
	Committed batch.ID `json:"committed"`
	Damage    []string `json:"damage"`
}

func listCheckpoints(w io.Writer, dir string, asJSON bool) error {
	found, err := findCheckpoints(dir)
	if err != nil {
		return usageError{fmt.Errorf("look for checkpoints: %w", err)}
	}
	if len(found) == 0 {
		return usageError{fmt.Errorf("no checkpoint in or below %s", dir)}
	}
	all := make([]listed, 0, len(found))
	for _, path := range found {
		l := listed{Dir: path, Committed: batch.None, Damage: []string{}}
		if r, err := filelog.Inspect(vfsx.Default, path); err != nil {
			l.Damage = append(l.Damage, err.Error())
		} else {
			if r.Metadata != nil {
				l.Query = r.Metadata.Name
			}
			l.Committed, l.Damage = lastCommitted(r), append(l.Damage, faults(r)...)
		}
		all = append(all, l)
	}
	if asJSON {
		return printJSON(w, all)
	}
	for _, l := range all {
		fmt.Fprintf(w, "%s  query %s  ", l.Dir, cmp.Or(l.Query, "?"))
		if l.Committed == batch.None {
			fmt.Fprint(w, "nothing committed")
		} else {
			fmt.Fprintf(w, "committed batch %d", l.Committed)
		}
		if len(l.Damage) > 0 {
			fmt.Fprintf(w, "  damaged: %s", l.Damage[0])
		}
		fmt.Fprintln(w)
	}
	return nil
}

// faults are the damages of a report, each with its file.
func faults(r *filelog.Report) []string {
	var out []string
	for _, d := range r.Damage {
		if strings.HasPrefix(d.What, d.File) {
			out = append(out, d.What) // it says itself where
			continue
		}
		out = append(out, d.File+": "+d.What)
	}
	return out
}

// lastCommitted is the newest committed batch, batch.None if there is none.
func lastCommitted(r *filelog.Report) batch.ID {
	for _, b := range slices.Backward(r.Batches) {
		if b.Committed {
			return b.Batch
		}
	}
	return batch.None
}

func describeCheckpoint(w io.Writer, r *filelog.Report) {
	fmt.Fprintf(w, "checkpoint  %s\n", r.Dir)
	if m := r.Metadata; m != nil {
		fmt.Fprintf(w, "query       %s (%s)\ncreated     %s\nplan        %s\nkey groups  %d\n",
			m.Name, m.Query, m.Created.UTC().Format("2006-01-02 15:04:05Z"), m.PlanHash, m.KeyGroups)
	}
	if r.Owner != "" {
		fmt.Fprintf(w, "opened by   %s\n", strings.TrimSpace(r.Owner))
	}
	fmt.Fprintf(w, "starts      %d\n", len(r.Terms))
	if n := len(r.Batches); n > 0 {
		fmt.Fprintf(w, "batches     %d to %d in the log\n", r.Batches[0].Batch, r.Batches[n-1].Batch)
		for _, b := range r.Batches[max(0, n-5):] {
			describeBatch(w, b)
		}
	} else {
		fmt.Fprintln(w, "batches     none")
	}
	for _, c := range r.Checkpoints {
		fmt.Fprintf(w, "state       version %d, %s in %d shards\n", c.Batch, memory.FormatBytes(c.Bytes), len(c.Manifests))
	}
	for _, a := range r.Adopted {
		fmt.Fprintf(w, "adopted     the state after batch %d from %s\n", a.Batch, a.From)
	}
	for _, s := range r.Sinks {
		fmt.Fprintf(w, "sink        %s up to batch %d\n", s.Sink, s.Batch)
	}
	if r.TornBytes > 0 {
		fmt.Fprintf(w, "torn tail   %d bytes of an append that a crash cut short; the next start cuts them off\n", r.TornBytes)
	}
	for _, f := range faults(r) {
		fmt.Fprintf(w, "DAMAGE      %s\n", f)
	}
}

func describeBatch(w io.Writer, b filelog.BatchInfo) {
	state := "planned"
	if b.Committed {
		state = "committed"
	}
	fmt.Fprintf(w, "  batch %d %s at %s  watermark %s  in %d  out %d  late %d\n",
		b.Batch, state, b.Now, b.Watermark, b.Counters.RowsIn, b.Counters.RowsOut, b.Counters.Late)
	for _, rg := range b.Ranges {
		if rg.Pin != "" {
			fmt.Fprintf(w, "    %s pinned\n", rg.Source)
			continue
		}
		fmt.Fprintf(w, "    %s [%s, %s)\n", rg.Source, rg.Start, rg.End)
	}
}

// verdict is what verify found.
type verdict struct {
	Dir        string   `json:"dir"`
	Sound      bool     `json:"sound"`
	LogFiles   int      `json:"log_files"`
	Batches    int      `json:"batches"`
	StateFiles int      `json:"state_files"`
	Gone       int      `json:"gone"`       // checkpoints that the log names and that are not kept any more
	TornBytes  int64    `json:"torn_bytes"` // of an append that a crash cut short: no damage
	Damage     []string `json:"damage"`
}

// withSavepoints adds the savepoints of a checkpoint to those of its log.
func withSavepoints(dir string, all []filelog.CheckpointInfo) ([]filelog.CheckpointInfo, error) {
	list, err := filelog.Savepoints(vfsx.Default, dir)
	for i := range list {
		_, _, check, rerr := list[i].Root()
		all, err = append(slices.Clip(all), filelog.CheckpointInfo{Batch: check.Batch, Manifests: check.Manifests}), errors.Join(err, rerr)
	}
	return all, err
}

// verifyCheckpoint checks the log and every file of the state checkpoints.
func verifyCheckpoint(ctx context.Context, w io.Writer, dir string, asJSON bool) error {
	r, err := filelog.Inspect(vfsx.Default, dir)
	if err != nil {
		return usageError{err}
	}
	v := verdict{Dir: dir, LogFiles: len(r.Segments), Batches: len(r.Batches), TornBytes: r.TornBytes, Damage: append([]string{}, faults(r)...)}
	files := checkpoint.View(vfsx.Default, filepath.Join(dir, "state"))
	checks, err := withSavepoints(dir, r.Checkpoints)
	if err != nil {
		v.Damage = append(v.Damage, err.Error())
	}
	for i, c := range checks {
		if kept, err := state.Kept(vfsx.Default, dir, microbatch.Checkpointed{Batch: c.Batch, Manifests: c.Manifests}); err == nil && !kept && i+1 < len(r.Checkpoints) {
			v.Gone++ // not kept any more; the log goes further back than the state
			continue
		}
		for _, raw := range c.Manifests {
			var m statestore.Manifest
			if err := json.Unmarshal([]byte(raw.Ref), &m); err != nil {
				v.Damage = append(v.Damage, fmt.Sprintf("manifest of version %d: %v", c.Batch, err))
				continue
			}
			v.StateFiles += len(m.Parts)
			if err := files.Verify(ctx, m); err != nil {
				v.Damage = append(v.Damage, err.Error())
			}
		}
	}
	v.Sound = len(v.Damage) == 0
	if asJSON {
		if err := printJSON(w, v); err != nil {
			return err
		}
	}
	if !v.Sound {
		return fmt.Errorf("checkpoint %s is damaged:\n  %s", dir, strings.Join(v.Damage, "\n  "))
	}
	if asJSON {
		return nil
	}
	fmt.Fprintf(w, "%s: %d log files, %d batches, %d state files: all sound\n", dir, v.LogFiles, v.Batches, v.StateFiles)
	if v.TornBytes > 0 {
		fmt.Fprintf(w, "%d bytes of an append that a crash cut short follow; the next start cuts them off\n", v.TornBytes)
	}
	return nil
}
