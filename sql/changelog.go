package sql

import (
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// PhysicalKeys returns the positions of the PRIMARY KEY among the physical columns,
// nil if a computed column is in it.
func (t *TableDef) PhysicalKeys() []int {
	var out []int
	for _, name := range t.Keys {
		at := slices.IndexFunc(t.Columns, func(c ColumnDef) bool { return strings.EqualFold(c.Name, name) && c.Physical >= 0 })
		if at < 0 {
			return nil
		}
		out = append(out, t.Columns[at].Physical)
	}
	return out
}

// CheckChanges says what a table whose rows carry a kind of change cannot have. What
// is taken back must be told by the row itself.
func CheckChanges(cat Catalog, t *TableDef, opts Options) error {
	switch t.Changes {
	case batch.OnlyGrows:
		return nil
	case batch.Upserts:
		if len(t.Keys) == 0 {
			return batch.UserErrorf("table %q: the rows of an upsert table replace each other by its key: declare PRIMARY KEY (..) NOT ENFORCED", t.Name)
		}
		for _, k := range t.Keys {
			if !slices.ContainsFunc(t.Columns, func(c ColumnDef) bool { return strings.EqualFold(c.Name, k) }) {
				return batch.UserErrorf("table %q: it has no column %q, which is in its PRIMARY KEY", t.Name, k)
			}
		}
		return nil
	case batch.Retracts:
	}
	if len(t.Meta) > 0 {
		return batch.UserErrorf("table %q: the metadata '%s' of a change is not that of the row which it takes back, so that the two could not be told to be the same: "+
			"leave the column out, or set 'changelog' = 'upsert' with a PRIMARY KEY", t.Name, t.Meta[0].Key)
	}
	sc, err := newBinder(cat, opts).scan(t)
	if err != nil {
		return err
	}
	p, ok := sc.node.(*logical.Project)
	if w, is := sc.node.(*logical.Watermark); is {
		p, ok = w.Input.(*logical.Project)
	}
	for i, c := range t.Columns {
		if ok && c.Physical < 0 && expr.PerBatch(p.Exprs[i]) {
			return batch.UserErrorf("table %q: the computed column %q has another value each time, so that the row which a change takes back could not be found", t.Name, c.Name)
		}
	}
	return nil
}
