package sluice

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/executor"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// selectionOf returns what a plan wants of a source. A source that is read in
// several places is read whole.
func selectionOf(q *planner.Query, source, zone string) sources.Selection {
	var found []*physical.Scan
	var walk func(n physical.Node)
	walk = func(n physical.Node) {
		if s, ok := n.(*physical.Scan); ok && s.Source == source {
			found = append(found, s)
		}
		for _, in := range n.Inputs() {
			walk(in)
		}
	}
	for _, st := range q.Plan.Stages {
		walk(st.Root)
	}
	if len(found) != 1 {
		return sources.Selection{}
	}
	return sources.Selection{Columns: found[0].Columns, Conditions: executor.Conditions(found[0], zone)}
}

// prunedFiles says for each table of files of how many the plan opens only some.
func (s *Session) prunedFiles(ctx context.Context, q *planner.Query) (_ string, err error) {
	var b, found strings.Builder
	for _, src := range q.Plan.Sources {
		where := selectionOf(q, src.Name, s.zone())
		if src.Stream || len(where.Conditions) == 0 {
			continue
		}
		kept, all, access, err := s.countFiles(ctx, q, src.Name, where)
		if err != nil {
			return "", err
		}
		if access != "" {
			fmt.Fprintf(&found, "%s: %s\n", src.Name, access)
		}
		if kept < all {
			fmt.Fprintf(&b, "%s: files %d of %d\n", src.Name, kept, all)
		}
	}
	out := ""
	if b.Len() > 0 {
		out = "== Files ==\n" + b.String()
	}
	if found.Len() > 0 {
		out += "== State ==\n" + found.String()
	}
	return out, nil
}

func (s *Session) countFiles(ctx context.Context, q *planner.Query, name string, where sources.Selection) (kept, all int, access string, err error) {
	table := q.Tables[name]
	c, err := s.reg.sources.Lookup(table.Connector)
	if err != nil || table.Connector == memoryConnector {
		return 0, 0, "", nil // read another way: there are no files
	}
	spec := s.sourceSpec(name, table, false)
	spec.Where, spec.Options = where, spec.Options.Known(c.Options)
	src, err := c.New(ctx, spec)
	if err != nil {
		return 0, 0, "", fmt.Errorf("open source %s: %w", spec.Table, err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if p, ok := src.(sources.Pruned); ok {
		kept, all, err = p.Pruned(ctx)
		return kept, all, "", err
	}
	if a, ok := src.(sources.Accessor); ok {
		return 0, 0, a.Access(), nil
	}
	return 0, 0, "", nil
}
