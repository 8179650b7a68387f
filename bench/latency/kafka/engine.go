package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
)

// mode is a query and a guarantee.
type mode struct {
	name      string
	committed bool // the consumer reads committed records alone
	counts    bool // there is a record for each input, not for every other
	script    string
	command   []string // of another engine
}

const (
	inTopic  = "lat_in"
	outTopic = "lat_out"

	// columns are those of a record of the input.
	columns = "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, extra STRING, ts BIGINT"
)

// modeOf writes a mode's script.
func modeOf(o options, name string) (mode, error) {
	query, delivery, _ := strings.Cut(name, "-")
	m := mode{name: name, committed: delivery == "exactly-once", counts: query == "count"}
	if delivery != "exactly-once" && delivery != "at-least-once" {
		return m, fmt.Errorf("mode %q: want project or count, -, exactly-once or at-least-once", name)
	}
	start := "latest"
	if o.backlog > 0 {
		start = "earliest"
	}
	further := ""
	if o.set != "" {
		further = ", " + o.set
	}
	with := func(topic, more string) string {
		return fmt.Sprintf("WITH ('connector'='kafka', 'bootstrap.servers'='%s', 'topic'='%s', %s)", o.brokers, topic, more)
	}
	in := "CREATE TABLE bid (" + columns + ") " + with(inTopic, "'starting-offsets'='"+start+"'") + ";\n"
	into := with(outTopic, "'delivery'='"+delivery+"'"+further) + ";\n"
	query0 := "CREATE STREAMING QUERY lat TRIGGER " + o.trigger
	switch query {
	case "project":
		m.script = in + "CREATE TABLE lat_out (auction BIGINT, bidder BIGINT, price DOUBLE, ts BIGINT) " + into + query0 +
			" OUTPUT MODE append CHECKPOINT 'lat' AS INSERT INTO lat_out SELECT auction, bidder, price * CAST(0.908 AS DOUBLE), ts FROM bid WHERE price >= 5000"
	case "count":
		m.script = in + "CREATE TABLE lat_out (bidder BIGINT, cnt BIGINT, total BIGINT, ts BIGINT, PRIMARY KEY (bidder) NOT ENFORCED) " + into + query0 +
			" OUTPUT MODE update CHECKPOINT 'lat' AS INSERT INTO lat_out SELECT bidder, count(*), sum(price), max(ts) FROM bid GROUP BY bidder"
	default:
		return m, fmt.Errorf("mode %q: want project or count, -, exactly-once or at-least-once", name)
	}
	return m, nil
}

// process is an engine that runs.
type process struct {
	cmd  *exec.Cmd
	done chan error
}

// start starts a mode's engine.
func start(ctx context.Context, o options, m mode, dir string) (*process, error) {
	args := m.command
	if args == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		script := filepath.Join(dir, m.name+".sql")
		if err := os.WriteFile(script, []byte(m.script), 0o600); err != nil {
			return nil, err
		}
		args = []string{self, "-engine", script, "-dir", filepath.Join(dir, m.name), "-cpuprofile", o.profile, "-progress=" + strconv.FormatBool(o.progress)}
	}
	p := &process{cmd: exec.CommandContext(ctx, args[0], args[1:]...), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = os.Stderr, os.Stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 20 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// stop ends the engine in order and waits for it.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-p.done
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM || exit != nil && exit.ExitCode() == 143 {
		return nil // another engine's way to end
	}
	return err
}

// ended is the engine's error when it has ended by itself.
func (p *process) ended() error {
	select {
	case err := <-p.done:
		p.done <- err
		return fmt.Errorf("the engine has ended: %w", err)
	default:
		return nil
	}
}

// clockTicks is in which parts of a second Linux counts the CPU time of a process.
const clockTicks = 100

// cpu returns the CPU seconds that the process took so far.
func (p *process) cpu() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / clockTicks
}

// peak is the most resident memory that the process has had, in MB.
func (p *process) peak() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			return kb >> 10
		}
	}
	return 0
}

// runEngine is the engine's process: it runs the script's query until it is told to stop.
func runEngine(ctx context.Context, o options) (err error) {
	script, err := os.ReadFile(o.engine)
	if err != nil {
		return err
	}
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: o.dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Exec(context.Background(), string(script)); err != nil {
		return err
	}
	q, ok := s.Query("lat")
	if !ok {
		return errors.New("the script started no query of the name lat")
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ended := make(chan error, 1)
	go func() { ended <- q.Await(context.Background()) }()
	watch := time.NewTicker(50 * time.Millisecond)
	defer watch.Stop()
	var seen phaseTimes
	for {
		select {
		case err := <-ended:
			return errors.Join(errors.New("the query has ended"), err)
		case <-watch.C:
			if o.progress {
				seen.add(q.Recent())
			}
			continue
		case <-ctx.Done():
		}
		break
	}
	if o.progress {
		seen.print()
	}
	q.Stop()
	return <-ended
}

// phaseTimes are how long the phases of batches took, in ms.
type phaseTimes struct {
	last int64
	by   map[string][]float64
}

// add takes in batches that are new.
func (t *phaseTimes) add(recent []sluice.Progress) {
	if t.by == nil {
		t.by, t.last = map[string][]float64{}, -1
	}
	for _, p := range recent {
		if p.BatchID <= t.last {
			continue
		}
		t.last = p.BatchID
		t.by["rows"] = append(t.by["rows"], float64(p.NumInputRows))
		t.by["batch"] = append(t.by["batch"], float64(p.BatchDuration))
		for k, v := range p.Phases {
			t.by[k] = append(t.by[k], v)
		}
	}
}

func (t *phaseTimes) print() {
	for _, k := range slices.Sorted(maps.Keys(t.by)) {
		v := t.by[k]
		slices.Sort(v)
		at := func(part float64) float64 { return v[int(part*float64(len(v)-1))] }
		fmt.Fprintf(os.Stderr, "  %-18s p50 %8.2f  p90 %8.2f  p99 %8.2f  max %8.2f  of %d\n", k, at(.5), at(.9), at(.99), at(1), len(v))
	}
}
