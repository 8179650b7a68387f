package sluice

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/stats"
)

// tableStats asks connectors what tables hold, once for each table of a plan.
// What cannot be told is not an error here: the query finds it when it reads.
func (s *Session) tableStats(ctx context.Context) stats.Tables {
	known := map[*logical.Table]*batch.TableStats{}
	return func(t *logical.Table) *batch.TableStats {
		st, ok := known[t]
		if !ok {
			st = s.statsOf(ctx, t)
			known[t] = st
		}
		return st
	}
}

func (s *Session) statsOf(ctx context.Context, t *logical.Table) *batch.TableStats {
	c, err := s.reg.sources.Lookup(t.Connector)
	if err != nil || c.Stats == nil {
		return nil
	}
	if t.Connector == memoryConnector {
		if st := s.writtenStats(t); st != nil {
			return st
		}
	}
	spec := s.sourceSpec(t.Name, t, false)
	spec.Options = spec.Options.Known(c.Options)
	st, err := c.Stats(ctx, spec)
	if err != nil || st.Rows == 0 {
		return nil
	}
	return &st
}

// writtenStats is for a table in memory that queries write to.
func (s *Session) writtenStats(t *logical.Table) *batch.TableStats {
	name := t.Options["name"]
	if name == "" {
		name = t.Name
	}
	if _, isStream := s.reg.stream(name); isStream {
		return nil
	}
	table, ok := s.reg.tables.Get(name)
	if !ok {
		return nil
	}
	return &batch.TableStats{Rows: max(1, table.NumRows()), Bytes: 1, Exact: true}
}
