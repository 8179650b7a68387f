package semantics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runsAtOnce bounds the sessions of a case that work at the same time.
const runsAtOnce = 8

var modes = []sluice.Mode{sluice.Append, sluice.Update, sluice.Complete, sluice.Changelog}

// TestCases runs the files in testdata. Short runs leave out 1 and 7 partitions
// that nobody restarts, and replays.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel() // they wait for disks most of the time
			f := &file{}
			defer func() { f.close(t) }()
			datadriven.RunTest(t, path, f.command)
			for _, fault := range f.faults { // not before, or nothing is rewritten
				t.Error(fault)
			}
		})
	}
}

// file is the state of one file of cases.
type file struct {
	ddl    string
	c      *oneCase
	faults []string
}

// oneCase is a query that runs in every mode it may have.
type oneCase struct {
	name    string
	sql     string
	ddl     string
	set     map[string]string
	keys    []string
	ordered bool          // the rows of complete mode are printed in their order
	free    bool          // the output is not held against the batch answer
	emit    bool          // EMIT AFTER WATERMARK
	every   int64         // EMIT AFTER so many ROWS
	restate time.Duration // LATE RESTATE UNTIL
	into    string        // LATE INTO this table, whose rows are printed
	// Restarts let the query end by itself: what a table that is one file held
	// before cannot be read again for a replay.
	graceful bool
	dir      string
	runs     []*run
	feeds    int
	late     bool // a row was late: the batch answer has more
}

func (f *file) close(t *testing.T) {
	if f.c == nil {
		return
	}
	if err := f.c.each(func(r *run) error { return r.stop(t.Context()) }); err != nil {
		t.Errorf("%s: %v", f.c.name, err)
	}
	if err := os.RemoveAll(f.c.dir); err != nil {
		t.Error(err)
	}
	f.c = nil
}

func (f *file) command(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "tables":
		f.ddl = d.Input
		return ""
	case "case":
		f.close(t)
		return f.start(t, d)
	case "batch":
		if f.c == nil {
			d.Fatalf(t, "a batch needs a case above it")
		}
		return f.batch(t, d.Input)
	case "explain":
		return f.c.explain(t)
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func (f *file) fault(format string, args ...any) {
	f.faults = append(f.faults, fmt.Sprintf(format, args...))
}

// start starts the case in every mode and tells which it may have.
func (f *file) start(t *testing.T, d *datadriven.TestData) string {
	c := &oneCase{name: d.CmdArgs[0].Key, sql: d.Input, ddl: f.ddl, set: map[string]string{}}
	asked := modes
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "keys":
			c.keys = a.Vals
		case "set":
			for _, v := range a.Vals {
				k, v, _ := strings.Cut(v, "=")
				c.set[k] = v
			}
		case "modes":
			asked = nil
			for _, v := range a.Vals {
				asked = append(asked, sluice.Mode(v))
			}
		case "ordered":
			c.ordered = true
		case "free":
			c.free = true
		case "emit":
			c.emit = true
		case "emit-rows", "late-restate", "late-into":
			if err := c.option(a.Key, a.Vals[0]); err != nil {
				d.Fatalf(t, "%s: %v", a.Key, err)
			}
		case "graceful":
			c.graceful = true
		default:
			d.Fatalf(t, "unknown argument %s", a.Key)
		}
	}
	dir, err := os.MkdirTemp("", "semantics")
	if err != nil {
		t.Fatal(err)
	}
	c.dir, f.c = dir, c
	var granted, refused []string
	for _, mode := range asked {
		first := newRun(c, mode, 3, false)
		err := first.open(t.Context())
		if err == nil {
			err = first.start(t.Context())
		}
		c.runs = append(c.runs, first)
		if err != nil {
			c.runs = c.runs[:len(c.runs)-1]
			refused = append(refused, fmt.Sprintf("%s: %s", mode, clean(c, err.Error())))
			if err := first.close(); err != nil {
				t.Error(err)
			}
			continue
		}
		granted = append(granted, string(mode))
	}
	if err := c.others(t.Context()); err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	if len(granted) > 0 {
		refused = append([]string{strings.Join(granted, ", ")}, refused...)
	}
	return strings.Join(refused, "\n") + "\n"
}

// option sets what stands beside the output mode.
func (c *oneCase) option(key, value string) (err error) {
	switch key {
	case "emit-rows":
		c.every, err = strconv.ParseInt(value, 10, 64)
	case "late-restate":
		c.restate, err = time.ParseDuration(value)
	default:
		c.into = value
	}
	return err
}

// others starts the runs with other numbers of partitions, and those that restart.
func (c *oneCase) others(ctx context.Context) error {
	first := slices.Clone(c.runs)
	for _, r := range first {
		if !testing.Short() {
			c.runs = append(c.runs, newRun(c, r.mode, 1, false), newRun(c, r.mode, 7, false))
			c.runs = append(c.runs, newRun(c, r.mode, 3, true))
		}
		c.runs = append(c.runs, newRun(c, r.mode, 1, true))
	}
	more := &oneCase{runs: c.runs[len(first):]}
	return more.each(func(r *run) error {
		if err := r.open(ctx); err != nil {
			return err
		}
		return r.start(ctx)
	})
}

// each does f for all runs, some at a time.
func (c *oneCase) each(f func(r *run) error) error {
	var g errgroup.Group
	g.SetLimit(runsAtOnce)
	for _, r := range c.runs {
		g.Go(func() error {
			if err := f(r); err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// batch feeds rows to every run and prints what came of them, once for the modes
// that agree.
func (f *file) batch(t *testing.T, input string) string {
	c := f.c
	feeds, err := parseFeeds(input)
	if err != nil {
		t.Fatal(err)
	}
	c.feeds++
	texts := make([]string, len(c.runs))
	index := map[*run]int{}
	for i, r := range c.runs {
		index[r] = i
	}
	err = c.each(func(r *run) error {
		text, err := r.batch(t.Context(), c.feeds, feeds)
		texts[index[r]] = text
		return err
	})
	if err != nil {
		f.fault("%s: %v", c.name, err)
		return "failed\n"
	}
	var out []string
	shown := map[sluice.Mode]string{}
	for i, r := range c.runs {
		if first, ok := shown[r.mode]; !ok {
			shown[r.mode] = texts[i]
			out = append(out, texts[i])
		} else if first != texts[i] {
			f.fault("%s: %s differs from the first run:\n%s\nfirst:\n%s", c.name, r, texts[i], first)
		}
	}
	f.hold(t)
	return clean(c, strings.Join(out, ""))
}

// hold compares what every run has put out so far with the batch answer.
func (f *file) hold(t *testing.T) {
	c := f.c
	for _, r := range c.runs {
		c.late = c.late || r.late > 0
	}
	if c.late || c.free || len(c.runs) == 0 {
		return
	}
	want, err := c.runs[0].answer(t.Context())
	if err != nil {
		f.fault("%s: the batch answer: %v", c.name, err)
		return
	}
	for _, r := range c.runs {
		if err := r.compare(want); err != nil {
			f.fault("%s: %s after %d feeds: %v", c.name, r, c.feeds, err)
		}
	}
}

func (c *oneCase) explain(t *testing.T) string {
	if len(c.runs) == 0 {
		return "no run\n"
	}
	return clean(c, c.runs[0].q.Explain()) + "\n"
}

func clean(c *oneCase, text string) string { return strings.ReplaceAll(text, c.dir, "$DIR") }

var errTakenBack = errors.New("a row is taken back that is not there")
