package slt

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// pass is one way of running a file.
type pass struct {
	mode   Mode
	pieces int // number of micro-batches that the feeds are cut into
}

// String names the pass: batch, stream/3, restart/3.
func (p pass) String() string {
	if p.mode == Batch {
		return string(p.mode)
	}
	return fmt.Sprintf("%s/%d", p.mode, p.pieces)
}

// passes lists the ways of running a file, those of its first mode first.
func (f *File) passes() []pass {
	var all []pass
	for _, mode := range f.Modes {
		if mode == Batch {
			all = append(all, pass{Batch, 1})
			continue
		}
		for _, k := range pieces {
			all = append(all, pass{mode, k})
		}
	}
	return all
}

// run makes one pass over a file.
type run struct {
	pass
	file    *File
	engine  Engine
	name    string // of the engine, for skipif and onlyif
	only    int    // if not 0, the line of the one query or statement to judge
	part    Part   // of the queries
	alone   bool   // there is no pass of fewer pieces
	fresh   func() Engine
	results map[int][]string
	fails   []string // what is wrong and no result could mend
	diffs   []string // results that differ from the file's

	feeds     []Feed
	answers   answers
	threshold int
	labels    map[string]string // label -> hash of its first result
}

// play executes the records in order and collects failures. What was printed
// by each query is kept by the query's line, for -rewrite.
func (r *run) play(ctx context.Context) error {
	r.results, r.labels = map[int][]string{}, map[string]string{}
	for i := range r.file.Records {
		rec := &r.file.Records[i]
		if r.leftOut(rec.Skip, rec.Only) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		switch s := rec.Step.(type) {
		case *Statement:
			r.statement(ctx, rec, s)
		case *Query:
			if r.judged(rec) && r.part.holds(r.file.Path, i) {
				r.query(ctx, rec, s)
			}
		case *Feed:
			if err := r.feed(ctx, rec, s); err != nil {
				return err
			}
		case *Threshold:
			r.threshold = s.Values
		case *Halt:
			return nil
		}
	}
	return nil
}

// judged reports whether a record is the one asked for, or all are. Statements
// and feeds always run, for what is asked for builds on them.
func (r *run) judged(rec *Record) bool {
	return r.only == 0 || rec.Line <= r.only && r.only < rec.End
}

func (r *run) leftOut(skip, only []string) bool {
	me := []string{r.name, string(r.mode)}
	is := func(name string) bool { return slices.Contains(me, name) }
	return slices.ContainsFunc(skip, is) || slices.ContainsFunc(only, func(name string) bool { return !is(name) })
}

func (r *run) failf(rec *Record, sql, format string, args ...any) {
	r.fails = append(r.fails, r.describe(rec, sql, fmt.Sprintf(format, args...)))
}

func (r *run) describe(rec *Record, sql, what string) string {
	where := fmt.Sprintf("%s:%d [%s]", r.file.Path, rec.Line, r.pass)
	return fmt.Sprintf("%s\n%s\n%s", where, indent(sql), indent(what))
}

func (r *run) statement(ctx context.Context, rec *Record, s *Statement) {
	if r.mode != Batch && s.adds() {
		r.feeds = append(r.feeds, Feed{SQL: s.SQL})
	}
	err := r.engine.Exec(ctx, s.SQL)
	if fault := judgeError(s.Error != nil, s.Error, err); fault != "" && (r.judged(rec) || err != nil) {
		r.failf(rec, s.SQL, "%s", fault)
	}
}

// judgeError says what is wrong about an error, or its absence; "" is nothing.
func judgeError(want bool, pattern *regexp.Regexp, err error) string {
	switch {
	case !want && err == nil:
		return ""
	case !want:
		return "failed: " + err.Error()
	case err == nil:
		return fmt.Sprintf("succeeded, want an error that matches %q", pattern)
	case !pattern.MatchString(err.Error()):
		return fmt.Sprintf("failed with: %v\nwant an error that matches %q", err, pattern)
	}
	return ""
}

func (r *run) feed(ctx context.Context, rec *Record, f *Feed) error {
	if r.mode != Batch {
		r.feeds = append(r.feeds, *f) // and to the engine: statements below may read it
	}
	feeder, ok := r.engine.(Feeder)
	if !ok {
		return fmt.Errorf("%s:%d: the engine %s takes no feeds", r.file.Path, rec.Line, r.name)
	}
	if err := feeder.Feed(ctx, *f); err != nil {
		return fmt.Errorf("%s:%d: feed %s: %w", r.file.Path, rec.Line, f.Source, err)
	}
	return nil
}

// query runs a query in the mode of the pass and judges its result. What shows
// something and is no query runs as in batch mode.
func (r *run) query(ctx context.Context, rec *Record, q *Query) {
	var cols []Column
	var rows [][]string
	var err error
	streamed := false
	if streamer, ok := r.engine.(Streamer); r.mode == Batch || ok && !streamer.Streams(q.SQL) {
		cols, rows, err = r.engine.Query(ctx, q.SQL)
	} else if !ok {
		err = errors.New("the engine does not stream")
	} else {
		plan, known := r.plan(rec, q)
		if known {
			return
		}
		if q.Error == nil {
			plan.Check = r.checker(ctx, rec, q, plan)
		}
		cols, rows, err = streamer.Stream(ctx, q.SQL, plan)
		streamed = true
	}
	if q.Error != nil || err != nil {
		if fault := judgeError(q.Error != nil, q.Error, err); fault != "" {
			r.failf(rec, q.SQL, "%s", fault)
		}
		return
	}
	if err := checkTypes(q.Types, cols, rows); err != nil {
		r.failf(rec, q.SQL, "%v", err)
		return
	}
	threshold := r.threshold
	if isHash(q.Expected) {
		threshold = 1
	}
	expected := q.Expected
	if streamed && q.Sort == NoSort && !isHash(expected) {
		// What has been accumulated has no order.
		sorted := *q
		sorted.Sort = RowSort
		q, expected = &sorted, sortedLines(expected, len(cols))
	}
	got := render(q, rows, threshold)
	r.results[rec.Line] = got
	if !sameResult(expected, got) {
		r.diffs = append(r.diffs, r.describe(rec, q.SQL, difference(expected, got)))
	}
	r.checkLabel(rec, q, rows)
}

// checkLabel holds queries with the same label to the same result.
func (r *run) checkLabel(rec *Record, q *Query, rows [][]string) {
	if q.Label == "" {
		return
	}
	hash := strings.Join(render(q, rows, 1), "\n")
	if first, ok := r.labels[q.Label]; ok && first != hash {
		r.failf(rec, q.SQL, "the result differs from that of the first query with label %s", q.Label)
		return
	}
	r.labels[q.Label] = hash
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ")
}
