package sluice

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sql"
)

// The tables of bad rows that nobody has declared: a batch query's rows stay in
// memory, a streaming query's lie beside its checkpoint.
const (
	batchQuarantine  = "quarantine"
	streamQuarantine = "_quarantine" // behind the query's name
	quarantineDir    = "quarantine"  // in the query's checkpoint
	quarantineSink   = "#quarantine" // behind the table's name
)

const policyQuarantine = "quarantine"

// quarantine gives a plan the tables that its bad rows go to, and returns their
// targets, which come behind those of the results. dir is the query's checkpoint,
// "" for a batch. It must not change the plan's key: a query that a bad row has
// stopped goes on with a quarantine.
func (s *Session) quarantine(pq *planner.Query, name, dir string) ([]target, error) {
	set := s.set.snapshot()
	pq.Plan.Errors, pq.Plan.Name = set.Get(setErrors), name
	var out []target
	add := func(source, table, to string) error {
		if to == "" && dir == "" {
			to = batchQuarantine
		}
		t, q, err := s.quarantineTable(to, name, dir)
		if err != nil {
			return err
		}
		for _, o := range pq.Plan.Sinks {
			if strings.EqualFold(o.Table, t.table.Name) && o.Name != t.name {
				return refused(batch.UserErrorf("table %s takes results of the query and cannot take its bad rows, too", t.table.Name))
			}
		}
		q.Source, q.Table = source, table
		pq.Plan.Quarantines = append(pq.Plan.Quarantines, q)
		if pq.Plan.OwnSinks()[t.name] && hasTarget(out, t.name) {
			return nil
		}
		pq.Plan.Sinks = append(pq.Plan.Sinks, physical.Sink{Name: t.name, Table: t.table.Name, Schema: q.Schema, Mode: string(sinks.Append)})
		out = append(out, t)
		return nil
	}
	for _, src := range pq.Plan.Sources {
		t := pq.Tables[src.Name]
		if t.Options[formats.BadRows.Key] != policyQuarantine {
			continue
		}
		if !src.Stream && pq.Plan.Stream {
			return nil, refused(batch.UserErrorf("table %s is read whole by a streaming query, for many batches, and its bad rows belong to none of them: use 'bad-rows' = 'fail' or 'null' for it", t.Name))
		}
		if err := add(src.Name, t.Name, t.Options[formats.QuarantineTable.Key]); err != nil {
			return nil, err
		}
	}
	if pq.Plan.Errors == policyQuarantine {
		if err := add("", "", set.Get(setErrorsTable)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// formerQuarantines opens the tables that batches of the log have put bad rows into
// and that the settings no longer name: the last batch is shown again by each start,
// and each sink is asked whether it has lost what it once showed.
func (s *Session) formerQuarantines(ctx context.Context, log queryLog, pq *planner.Query, dir string) ([]target, error) {
	known := pq.Plan.OwnSinks()
	var names []string
	for rec, err := range log.Replay(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("read the batch log: %w", err)
		}
		if c, ok := rec.(microbatch.Committed); ok {
			for _, p := range c.Prepared {
				if name, ours := strings.CutSuffix(p.Sink, quarantineSink); ours && !known[p.Sink] && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	var out []target
	for _, name := range names {
		t, q, err := s.quarantineTable(name, pq.Plan.Name, dir)
		if err != nil {
			return nil, fmt.Errorf("open %s, which has bad rows of the query: %w", name, err)
		}
		q.Source = formerSource
		pq.Plan.Quarantines = append(pq.Plan.Quarantines, q)
		pq.Plan.Sinks = append(pq.Plan.Sinks, physical.Sink{Name: t.name, Table: t.table.Name, Schema: q.Schema, Mode: string(sinks.Append)})
		out = append(out, t)
	}
	return out, nil
}

// formerSource stands for a quarantine of settings that were; no source is called so.
const formerSource = "#former"

func hasTarget(ts []target, name string) bool {
	for _, t := range ts {
		if t.name == name {
			return true
		}
	}
	return false
}

// quarantineTable finds or makes the table of a name, "" for the query's own.
func (s *Session) quarantineTable(name, query, dir string) (target, physical.Quarantine, error) {
	if name == "" {
		name = query + streamQuarantine
	}
	rel, err := s.cat.Relation(name)
	if err != nil {
		return target{}, physical.Quarantine{}, err
	}
	if rel == nil {
		if rel, err = s.makeQuarantine(name, query, dir); err != nil {
			return target{}, physical.Quarantine{}, err
		}
	}
	if rel.Table == nil {
		return target{}, physical.Quarantine{}, refused(batch.UserErrorf("%q is a view and cannot take bad rows", name))
	}
	q := physical.Quarantine{Sink: rel.Table.Name + quarantineSink}
	var fields []arrow.Field
	for _, c := range rel.Table.Columns {
		at := physical.QuarantineSchema.FieldIndices(strings.ToLower(c.Name))
		switch {
		case c.Virtual:
			continue
		case len(at) == 0:
			return target{}, q, refused(batch.UserErrorf("table %s takes bad rows and has a column %q: it may have %s", rel.Table.Name, c.Name, quarantineColumns()))
		case !arrow.TypeEqual(c.Type, physical.QuarantineSchema.Field(at[0]).Type) && !(at[0] == physical.BadAt && c.Type.ID() == arrow.TIMESTAMP):
			return target{}, q, refused(batch.UserErrorf("table %s takes bad rows: its column %q is %s and has to be %s", rel.Table.Name, c.Name, c.Type, physical.QuarantineSchema.Field(at[0]).Type))
		}
		q.Columns = append(q.Columns, at[0])
		fields = append(fields, arrow.Field{Name: c.Name, Type: physical.QuarantineSchema.Field(at[0]).Type, Nullable: true})
	}
	q.Schema = arrow.NewSchema(fields, nil)
	c, err := s.reg.sinks.Lookup(rel.Table.Connector)
	if err != nil {
		return target{}, q, refused(err)
	}
	return target{name: q.Sink, table: rel.Table, connector: c, mode: sinks.Append, schema: q.Schema}, q, nil
}

func quarantineColumns() string {
	var names []string
	for _, f := range physical.QuarantineSchema.Fields() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// makeQuarantine declares a table for bad rows: in memory for a batch, else files
// beside the checkpoint.
func (s *Session) makeQuarantine(name, query, dir string) (*sql.Relation, error) {
	path := ""
	if dir != "" {
		path = filepath.Join(dir, quarantineDir)
		if name != query+streamQuarantine {
			path = filepath.Join(filepath.Dir(dir), quarantineDir+"-"+name) // perhaps of several queries
		}
	}
	return s.makeSideTable(name, path, physical.QuarantineSchema, "takes bad rows")
}

// makeSideTable declares a table for rows that are set aside: in memory where path
// is "", else files there.
func (s *Session) makeSideTable(name, path string, schema *arrow.Schema, what string) (*sql.Relation, error) {
	def := &sql.TableDef{Name: name, Connector: memoryConnector, Options: map[string]string{"name": name}, Text: "-- " + name + " " + what}
	if path != "" && vfsx.Mounted(path) {
		return nil, refused(batch.UserErrorf("table %s %s, and the checkpoint, where it would be, lies in a bucket: declare it first, with a connector of its own", name, what))
	}
	if path != "" {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("make the folder of table %s: %w", name, err)
		}
		def.Connector, def.Options = "filesystem", map[string]string{"connector": "filesystem", "path": path, "format": "parquet"}
	}
	def.Complete(schema)
	rel := &sql.Relation{Name: name, Table: def}
	if err := s.cat.add(rel, false, false); err != nil {
		return nil, err
	}
	return rel, nil
}

// The policy for rows that cannot be computed.
var (
	setErrors = options.Option{Key: "errors.policy", Kind: options.Enum, Default: "fail", Values: []string{"fail", "null", "quarantine"},
		Doc: "what becomes of a row for which a cast or another expression fails: the query stops, the value is NULL, or the row goes into a quarantine table"}
	setErrorsTable = options.Option{Key: "errors.table", Kind: options.Text, Default: "",
		Doc: "the quarantine table of rows that cannot be computed; the query's own by default"}
)
