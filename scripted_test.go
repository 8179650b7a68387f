package sluice

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs the sessions in testdata/session. The commands:
//
//	exec                     a script; prints messages, rows, plans and errors
//	stream NAME              makes a stream of the declared columns
//	add NAME [q=QUERY]       gives CSV rows to a stream, which QUERY takes without an error
//	feed PATH [q=QUERY]      writes a file below $DIR, which QUERY takes without an error
//	process QUERY            waits for QUERY
//	output TABLE             batches of a table in memory since the last look
//	table TABLE              what the table in memory holds
//	progress QUERY           what does not depend on time of the last batch
//	await QUERY              waits for the end of a query
//	reopen                   closes the session and opens one on the same checkpoints
//
// After each command every query that runs processes all that is available: the
// numbers of batches, and which rows come in one batch, would be a matter of time
// else. $DIR is the session's folder.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/session", func(t *testing.T, path string) {
		x := &scripted{t: t, dir: t.TempDir(), streams: map[string]*Stream{}, seen: map[string]int{}}
		x.open()
		defer func() { x.close() }()
		datadriven.RunTest(t, path, x.run)
	})
}

// scripted is a session that a script drives.
type scripted struct {
	t       *testing.T
	dir     string
	s       *Session
	streams map[string]*Stream
	seen    map[string]int // batches of a memory table that were printed
}

func (x *scripted) open() {
	s, err := NewSession(Options{
		CheckpointDir: filepath.Join(x.dir, "ck"), Pipeline: true, Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard,
		Settings: map[string]string{"parallelism": "2"},
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.s = s
}

func (x *scripted) close() {
	if err := x.s.Close(); err != nil {
		x.t.Errorf("close the session: %v", err)
	}
}

// run carries out one command.
func (x *scripted) run(t *testing.T, d *datadriven.TestData) string {
	x.t = t
	var out strings.Builder
	arg := func() string {
		if len(d.CmdArgs) == 0 {
			d.Fatalf(t, "%s needs a name", d.Cmd)
		}
		return d.CmdArgs[0].Key
	}
	input := strings.ReplaceAll(d.Input, "$DIR", x.dir)
	switch d.Cmd {
	case "exec":
		x.exec(&out, input)
	case "stream":
		st, err := x.s.CreateStream(arg(), schemaOf(t, x.s, input))
		if err != nil {
			return "error: " + err.Error()
		}
		x.streams[arg()] = st
	case "add":
		add(t, x.streams[arg()], input)
		x.wait(&out, d)
	case "end":
		x.streams[arg()].End()
	case "feed":
		x.feed(arg(), input)
		x.wait(&out, d)
	case "process":
		x.with(&out, arg(), func(q *Query) error { return q.ProcessAllAvailable(t.Context()) })
	case "output":
		x.output(&out, arg())
	case "table":
		x.table(&out, arg())
	case "progress":
		x.with(&out, arg(), func(q *Query) error { x.progress(&out, q); return nil })
	case "await":
		x.with(&out, arg(), func(q *Query) error {
			defer out.WriteString("ended\n")
			return q.Await(t.Context())
		})
	case "reopen":
		x.close()
		x.open()
		x.streams, x.seen = map[string]*Stream{}, map[string]int{}
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	x.settle()
	return x.clean(out.String())
}

// clean takes what differs from run to run out of a text.
func (x *scripted) clean(text string) string { return strings.ReplaceAll(text, x.dir, "$DIR") }

// with hands a query to f; that there is none is printed.
func (x *scripted) with(out *strings.Builder, name string, f func(q *Query) error) {
	q, ok := x.s.Query(name)
	if !ok {
		fmt.Fprintf(out, "there is no query %q\n", name)
	} else if err := f(q); err != nil {
		fmt.Fprintln(out, "error:", err)
	}
}

func (x *scripted) exec(out *strings.Builder, script string) {
	err := x.s.Run(x.t.Context(), script, func(r *Result) error {
		switch {
		case r.Rows != nil:
			names := make([]string, r.Schema.NumFields())
			for i, f := range r.Schema.Fields() {
				names[i] = f.Name
			}
			lines, err := read(context.Background(), r.Rows)
			if r.Plan != "" { // the order of a plan's lines says something
				lines = strings.Split(strings.TrimSpace(r.Plan), "\n")
			}
			fmt.Fprintf(out, "[%s]\n", strings.Join(names, "|"))
			for _, l := range lines {
				fmt.Fprintln(out, l)
			}
			return err
		case r.Message != "":
			fmt.Fprintln(out, r.Message)
		case r.Plan != "":
			fmt.Fprintln(out, r.Plan)
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(out, "error:", err)
	}
}

// settle lets every query process what there is, so that what a query that was just
// started finds, and what the next command adds, are never one batch. A query may read
// what another one writes: each gets as many turns as there are queries.
func (x *scripted) settle() {
	queries := x.s.Queries()
	for range queries {
		for _, q := range queries {
			_ = q.ProcessAllAvailable(x.t.Context()) // that it has ended or failed shows where the script looks
		}
	}
}

// wait lets the queries process what came.
func (x *scripted) wait(out *strings.Builder, d *datadriven.TestData) {
	for _, a := range d.CmdArgs[1:] {
		for _, name := range a.Vals {
			x.with(out, name, func(q *Query) error { return q.ProcessAllAvailable(x.t.Context()) })
		}
	}
}

// feed writes a file at once, as whoever brings files should.
func (x *scripted) feed(path, text string) {
	path = filepath.Join(x.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		x.t.Fatal(err)
	}
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(hidden, []byte(text+"\n"), 0o644); err != nil {
		x.t.Fatal(err)
	}
	if err := os.Rename(hidden, path); err != nil {
		x.t.Fatal(err)
	}
}

func (x *scripted) output(out *strings.Builder, name string) {
	table, ok := x.s.reg.tables.Get(name)
	if !ok {
		fmt.Fprintf(out, "there is no table in memory %q\n", name)
		return
	}
	batches := table.Batches()
	for i, b := range batches {
		if i >= x.seen[name] {
			fmt.Fprintf(out, "batch %d:\n", b.ID)
			lines := linesOf(b.Records...)
			slices.Sort(lines)
			for _, l := range lines {
				fmt.Fprintln(out, " ", l)
			}
		}
		for _, r := range b.Records {
			r.Release()
		}
	}
	x.seen[name] = len(batches)
}

func (x *scripted) table(out *strings.Builder, name string) {
	lines, err := x.s.MemoryTable(name).Reader(x.t.Context())
	if err != nil {
		fmt.Fprintln(out, "error:", err)
		return
	}
	rows, err := read(x.t.Context(), lines)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, l := range rows {
		fmt.Fprintln(out, l)
	}
}

func (x *scripted) progress(out *strings.Builder, q *Query) {
	p := q.Progress()
	fmt.Fprintf(out, "batch %d: %d rows in, %d out, %d late", p.BatchID, p.NumInputRows, p.Sink.NumOutputRows, p.LateRows)
	if p.NoData {
		out.WriteString(", without data")
	}
	if p.EventTime.Max != "" {
		fmt.Fprintf(out, ", max %s", p.EventTime.Max)
	}
	if p.EventTime.Watermark != "" {
		fmt.Fprintf(out, ", watermark %s", p.EventTime.Watermark)
	}
	for _, op := range p.StateOperators {
		fmt.Fprintf(out, "\n  state: %d rows", op.NumRowsTotal)
	}
	fmt.Fprintf(out, "\n  status %s, totals %+v\n", q.Status(), q.Totals())
}
