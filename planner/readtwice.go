package planner

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// sourceOf names the source that a scan of a table reads: by the table and its place
// among the scans of that name, so that the name is the same whenever the query is
// planned. A streaming query that reads a table twice has one source for it: with
// offsets of their own, the two sides of a self join would have read different
// prefixes of it, and the result would be that of no input there ever was.
func (b *builder) sourceOf(t *logical.Table) (name string, known bool) {
	n := b.counts[t.Name]
	b.counts[t.Name]++
	if b.opts.Stream {
		for _, s := range b.plan.Sources {
			if sameTable(b.query.Tables[s.Name], t) {
				return s.Name, true
			}
		}
	}
	return sourceName(t.Name, n), false
}

func sourceName(table string, n int) string { return fmt.Sprintf("%s#%d", table, n) }

// distinctNames drops the names that have been there before.
func distinctNames(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// eventTimeOf notes a watermark of a source. Of several over one source, as two
// DataFrames may declare, the longest delay counts; a second column has a name of its
// own among what the source has reached, of which the lowest counts.
func (b *builder) eventTimeOf(source string, n *logical.Watermark) (column string) {
	name, delay := n.Schema().Field(n.Col).Name, n.Delay.Microseconds()
	at := slices.IndexFunc(b.plan.Watermarks, func(w physical.WatermarkDelay) bool { return w.Source == source })
	if at < 0 {
		b.plan.Watermarks = append(b.plan.Watermarks, physical.WatermarkDelay{Source: source, Delay: delay, Column: name})
		return ""
	}
	w := &b.plan.Watermarks[at]
	w.Delay = max(w.Delay, delay)
	if w.Column == name {
		return ""
	}
	return name
}

// sameTable reports whether two scans read the same rows.
func sameTable(a, b *logical.Table) bool {
	return a == b || a.Name == b.Name && a.Connector == b.Connector && maps.Equal(a.Options, b.Options) && a.Schema.Equal(b.Schema) &&
		slices.Equal(a.Meta, b.Meta) && a.Stream == b.Stream && a.Lookup == b.Lookup && a.Inferred == b.Inferred &&
		a.Changes == b.Changes && slices.Equal(a.Keys, b.Keys) && sameData(a.Data, b.Data)
}

func sameData(a, b any) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

// countOnce marks all scans of a source but the first: its rows come in once,
// however often they are read.
func (b *builder) countOnce() {
	seen := map[string]bool{}
	var mark func(physical.Node)
	mark = func(n physical.Node) {
		switch n := n.(type) {
		case *physical.Scan:
			n.Again = seen[n.Source]
			seen[n.Source] = true
		case *physical.Watermark:
			defer func() { n.Again = againBelow(n) }()
		}
		for _, in := range n.Inputs() {
			mark(in)
		}
	}
	if b.opts.Stream {
		for _, s := range b.plan.Stages {
			mark(s.Root)
		}
	}
}

// againBelow reports whether the rows of a node are those of a scan that another one
// counts.
func againBelow(n physical.Node) bool {
	for {
		if s, ok := n.(*physical.Scan); ok {
			return s.Again
		}
		in := n.Inputs()
		if len(in) != 1 {
			return false
		}
		n = in[0]
	}
}

// widen lets all scans of a table whose bad rows are set aside read the same columns,
// and all its rows, if there are several: a row is bad for all of them then, or for none.
func (b *builder) widen(outs []Output) {
	if !b.opts.Stream || b.opts.SetsAside == nil {
		return
	}
	var scans []*logical.Scan
	for _, out := range outs {
		logical.Walk(out.Node, func(n logical.Node) bool {
			if s, ok := n.(*logical.Scan); ok && b.opts.SetsAside(s.Table) {
				scans = append(scans, s)
			}
			return true
		})
	}
	if len(scans) < 2 {
		return
	}
	for i := range outs {
		outs[i].Node = logical.Transform(outs[i].Node, func(n logical.Node) logical.Node {
			s, ok := n.(*logical.Scan)
			if !ok || !slices.Contains(scans, s) {
				return n
			}
			return wider(s, scans)
		})
	}
}

// wider is a scan with the columns of all scans of its table.
func wider(s *logical.Scan, all []*logical.Scan) logical.Node {
	columns := func(s *logical.Scan) []int {
		if s.Columns == nil {
			return positions(s.Table.Schema.NumFields())
		}
		return s.Columns
	}
	var cols []int
	times := 0
	for _, o := range all {
		if !sameTable(o.Table, s.Table) {
			continue
		}
		times++
		cols = append(cols, columns(o)...)
	}
	if times < 2 {
		return s
	}
	slices.Sort(cols)
	cols = slices.Compact(cols)
	wide := &logical.Scan{Table: s.Table, Columns: cols}
	if slices.Equal(cols, columns(s)) {
		return wide
	}
	p := &logical.Project{Input: wide}
	for i, c := range columns(s) {
		at := slices.Index(cols, c)
		f := wide.Schema().Field(at)
		p.Exprs = append(p.Exprs, &expr.Column{Index: at, Name: f.Name, DT: f.Type, Null: f.Nullable})
		p.Names = append(p.Names, s.Schema().Field(i).Name)
	}
	return p
}
