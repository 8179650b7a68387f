package sluice

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
)

const (
	lateSink = "#late" // behind the table's name
	lateDir  = "late"  // in the query's checkpoint, for a table that nobody has declared
)

// lates reads LATE, which says what becomes of rows that the watermark has passed:
//
//	DROP                      they are counted
//	INTO table                they go into a table with their batch
//	RESTATE UNTIL interval    a window stays that long past its end, and they correct it
func lates(d *queryDef, l *ast.Late) error {
	switch l.Kind {
	case "INTO":
		d.lateInto = nameText(*l.Into)
	case "RESTATE":
		until, err := emitInterval("LATE RESTATE UNTIL", l.Until)
		if err != nil {
			return err
		}
		d.restate = until
	}
	return nil
}

// LateInto puts rows that come too late into a table, exactly once and with the
// batch that read them, beside the operator and the watermark that judged them.
func (w *Writer) LateInto(table string) *Writer { w.def.lateInto = table; return w }

// LateRestate keeps a window for so long past its end: a late row corrects its
// result, which goes out as an update. The mode has to be Update or Changelog.
func (w *Writer) LateRestate(until time.Duration) *Writer { w.def.restate = until; return w }

// lateTable gives a plan the table that its late rows go to, and returns its target.
// Like a quarantine it must not change the plan's key.
func (s *Session) lateTable(pq *planner.Query, d *queryDef, dir string) ([]target, error) {
	if d.lateInto == "" {
		return nil, nil
	}
	ins := pq.Plan.LateInputs()
	if len(ins) == 0 {
		return nil, refused(batch.UserErrorf("LATE INTO %s: no operator of the query tells late rows from others, as it keeps nothing that a watermark closes", d.lateInto))
	}
	rel, err := s.cat.Relation(d.lateInto)
	if err != nil {
		return nil, err
	}
	own := lateColumns(ins)
	if rel == nil {
		schema := arrow.NewSchema(append(slices.Clone(own.Fields()), physical.LateSchema.Fields()...), nil)
		if rel, err = s.makeSideTable(d.lateInto, filepath.Join(dir, lateDir), schema, "takes late rows"); err != nil {
			return nil, err
		}
	}
	if rel.Table == nil {
		return nil, refused(batch.UserErrorf("%q is a view and cannot take late rows", d.lateInto))
	}
	for _, o := range pq.Plan.Sinks {
		if strings.EqualFold(o.Table, rel.Table.Name) {
			return nil, refused(batch.UserErrorf("table %s takes other rows of the query and cannot take its late rows, too", rel.Table.Name))
		}
	}
	c, err := s.reg.sinks.Lookup(rel.Table.Connector)
	if err != nil {
		return nil, refused(err)
	}
	if !slices.Contains(c.Modes, sinks.Append) {
		return nil, refused(batch.UserErrorf("table %s: connector '%s' cannot take late rows, which are appended", rel.Table.Name, c.Name))
	}
	late, err := lateMapping(rel.Table, own)
	if err != nil {
		return nil, err
	}
	pq.Plan.Late, pq.Plan.Name = late, d.name
	pq.Plan.Sinks = append(pq.Plan.Sinks, physical.Sink{Name: late.Sink, Table: rel.Table.Name, Schema: late.Schema, Mode: string(sinks.Append)})
	return []target{{name: late.Sink, table: rel.Table, connector: c, mode: sinks.Append, schema: late.Schema}}, nil
}

// lateColumns are the columns of the rows that may come late, of the first operator
// that has one of a name.
func lateColumns(ins []*arrow.Schema) *arrow.Schema {
	var fields []arrow.Field
	for _, in := range ins {
		for _, f := range in.Fields() {
			if f.Name == batch.OpColumn || slices.ContainsFunc(fields, func(o arrow.Field) bool { return strings.EqualFold(o.Name, f.Name) }) {
				continue
			}
			fields = append(fields, arrow.Field{Name: f.Name, Type: f.Type, Nullable: true})
		}
	}
	return arrow.NewSchema(fields, nil)
}

// lateMapping says what each column of a table takes of late rows: what is known of
// them, or their own column of the same name.
func lateMapping(t *sql.TableDef, own *arrow.Schema) (*physical.LateRows, error) {
	late := &physical.LateRows{Sink: t.Name + lateSink}
	var fields []arrow.Field
	for _, c := range t.Columns {
		if c.Virtual {
			continue
		}
		from := own
		to := physical.LateColumn{Fact: -1, Name: c.Name}
		at := physical.LateSchema.FieldIndices(strings.ToLower(c.Name))
		if len(at) > 0 {
			from, to.Fact = physical.LateSchema, at[0]
		} else {
			at = slices.DeleteFunc(positionsOf(own), func(i int) bool { return !strings.EqualFold(own.Field(i).Name, c.Name) })
		}
		if len(at) == 0 {
			return nil, refused(batch.UserErrorf("table %s takes late rows, which have no %q: it may have their columns (%s) and %s",
				t.Name, c.Name, fieldNames(own), fieldNames(physical.LateSchema)))
		}
		f := from.Field(at[0])
		if !arrow.TypeEqual(c.Type, f.Type) && (to.Fact < 0 || f.Type.ID() != arrow.TIMESTAMP || c.Type.ID() != arrow.TIMESTAMP) {
			return nil, refused(batch.UserErrorf("table %s takes late rows: its column %q is %s and has to be %s", t.Name, c.Name, c.Type, f.Type))
		}
		late.Columns = append(late.Columns, to)
		fields = append(fields, arrow.Field{Name: c.Name, Type: f.Type, Nullable: true})
	}
	late.Schema = arrow.NewSchema(fields, nil)
	return late, nil
}

func positionsOf(s *arrow.Schema) []int {
	out := make([]int, s.NumFields())
	for i := range out {
		out[i] = i
	}
	return out
}

func fieldNames(s *arrow.Schema) string {
	names := make([]string, s.NumFields())
	for i, f := range s.Fields() {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}
