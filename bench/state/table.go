package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	settings "github.com/sluice-stream/sluice/internal/options"
)

// Of other engines on this kind of machine, counting per key over ten million keys
// on two cores: Spark 4.1 with its RocksDB store and changelog checkpoints, Flink
// 2.3 with RocksDB and incremental checkpoints every two seconds.
const (
	sparkPerSec = 130_000
	flinkPerSec = 68_000
)

// goal is a line of the table.
type goal struct {
	what, goal, got string
	ratio           float64 // of what was measured to the goal; at most 1 is good
}

func atLeast(what string, want, got float64, unit string) goal {
	return goal{what, fmt.Sprintf(">= %.4g %s", want, unit), fmt.Sprintf("%.4g", got), want / got}
}

func atMost(what string, want, got float64, unit string) goal {
	return goal{what, fmt.Sprintf("<= %.4g %s", want, unit), fmt.Sprintf("%.4g", got), got / want}
}

// phases runs phases in processes of their own.
type phases struct {
	ctx   context.Context
	o     options
	dir   string
	goals []goal
	all   []*measured
}

// run runs a phase in a folder of a name.
func (p *phases) run(folder string, env []string, args ...string) (*measured, error) {
	sub := filepath.Join(p.dir, folder)
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return nil, err
	}
	m, err := child(p.ctx, env, append(args, "-limit", p.o.limit, "-batch", fmt.Sprint(p.o.batch), "-batches", fmt.Sprint(p.o.batches), "-dir", sub))
	if err == nil {
		p.all = append(p.all, m)
	}
	return m, err
}

// all runs every phase and prints the tables.
func all(ctx context.Context, o options, dir string) error {
	p := &phases{ctx: ctx, o: o, dir: dir}
	m, err := p.run("updates", []string{"GOMAXPROCS=1"}, "-phase", "updates")
	if err != nil {
		return err
	}
	p.goals = append(p.goals, atLeast("keyed updates in memory, one core", 5, m.PerSec/1e6, "M/s"))
	if err := p.counts(); err != nil {
		return err
	}
	if err := p.large(); err != nil {
		return err
	}
	show(p.goals, p.all)
	return nil
}

// counts counts per key over few, many and most keys.
func (p *phases) counts() error {
	limit, err := settings.ParseBytes(p.o.limit)
	if err != nil {
		return err
	}
	keys := strings.Split(p.o.keys, ",")
	if len(keys) != 3 {
		return fmt.Errorf("-all counts few, many and most keys: three numbers, not %s", p.o.keys)
	}
	var of [3]*measured
	for i, k := range keys {
		if of[i], err = p.run("count", nil, "-phase", "count", "-keys", strings.TrimSpace(k)); err != nil {
			return err
		}
	}
	few, many, most := of[0], of[1], of[2]
	p.goals = append(p.goals,
		atMost(fmt.Sprintf("count per key, %s keys: peak RSS", most.keys()), 1.3*float64(limit)/(1<<20), float64(most.PeakMB), "MB"),
		atLeast(fmt.Sprintf("its throughput beside that of %s keys", few.keys()), few.PerSec/3/1000, most.PerSec/1000, "k rows/s"),
		atLeast(fmt.Sprintf("count per key, %s keys, beside 5 x Spark", many.keys()), 5*sparkPerSec/1000, many.PerSec/1000, "k rows/s"),
		atLeast("the same beside 10 x Flink", 10*flinkPerSec/1000, many.PerSec/1000, "k rows/s"))
	return nil
}

// large times batches over an empty and a large state, starting again, and what a
// checkpoint writes.
func (p *phases) large() error {
	empty, err := p.run("empty", nil, "-phase", "live", "-gb", "0")
	if err != nil {
		return err
	}
	gb := fmt.Sprint(p.o.gigabytes)
	if _, err := p.run("full", nil, "-phase", "load", "-gb", gb); err != nil {
		return err
	}
	full, err := p.run("full", nil, "-phase", "live", "-gb", gb, "-crash")
	if err != nil {
		return err
	}
	crashed, err := p.run("full", nil, "-phase", "again", "-gb", gb)
	if err != nil {
		return err
	}
	small, err := p.run("store", nil, "-phase", "store", "-gb", fmt.Sprint(min(p.o.gigabytes, 1)))
	if err != nil {
		return err
	}
	p.goals = append(p.goals,
		atMost(fmt.Sprintf("p99 of batches of %d rows over %.3g GB, checkpoints running, beside an empty state", liveRows, full.GB), 2*empty.Batch.P99, full.Batch.P99, "ms"),
		atMost(fmt.Sprintf("recovery of %.3g GB to the first new batch, from its checkpoint", full.GB), 10, full.Recovery, "s"),
		atMost("the same after a crash", 2, crashed.Recovery, "s"),
		atMost("checkpoint after 1 % has changed, of the state's bytes", 3, 100*small.Uploads, "%"))
	return nil
}

// keys prints how many keys were counted.
func (m *measured) keys() string {
	if m.Keys%1_000_000 == 0 {
		return fmt.Sprintf("%d M", m.Keys/1_000_000)
	}
	return fmt.Sprint(m.Keys)
}

func show(goals []goal, phases []*measured) {
	fmt.Println("\n| what | goal | measured | ratio, 1 is the goal | |\n|---|---|---|---|---|")
	for _, g := range goals {
		verdict := "pass"
		if g.ratio > 1 {
			verdict = "**fail**"
		}
		fmt.Printf("| %s | %s | %s | %.2f | %s |\n", g.what, g.goal, g.got, g.ratio, verdict)
	}
	fmt.Println("\n| phase | keys or GB | rows/s | seconds | CPU s | peak RSS | files | batch p50, p99, most | GC pauses p50, p99, most | cycles |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, m := range phases {
		what, batch, perSec := fmt.Sprintf("%.3g GB", m.GB), "", ""
		if m.Keys > 0 {
			what, perSec = m.keys(), fmt.Sprintf("%.0f", m.PerSec)
		}
		if b := m.Batch; b != nil {
			batch = fmt.Sprintf("%.2f, %.2f, %.2f ms", b.P50, b.P99, b.Max)
		}
		fmt.Printf("| %s | %s | %s | %.1f | %.1f | %d MB | %d MB | %s | %.2f, %.2f, %.2f ms | %d |\n", m.Phase, what, perSec, m.Seconds+m.Load+m.Recovery,
			m.CPU, m.PeakMB, m.Files, batch, m.Pauses.P50, m.Pauses.P99, m.Pauses.Max, m.Cycles)
	}
}

// child runs a phase and reads what it measured.
func child(ctx context.Context, env, args []string) (*measured, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	fmt.Print(string(out))
	m := &measured{}
	return m, json.Unmarshal(bytes.TrimSpace(out), m)
}
