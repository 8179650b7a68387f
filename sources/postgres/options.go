package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

var (
	optPages = options.Option{Key: "split-pages", Kind: options.Int, Default: "8192", Doc: "Pages of the table, of 8 KiB, in one split, the unit of parallel work; 0 for one split."}
	optTTL   = options.Option{Key: "lookup.cache-ttl", Kind: options.Duration, Default: "0s", Doc: "How long an answer may be used by later batches of a join FOR SYSTEM_TIME AS OF; with 0 each batch asks for each of its keys once."}
	optRows  = options.Option{Key: "lookup.cache-rows", Kind: options.Int, Default: "100000", Doc: "Keys and rows that are kept for later batches, at most; the oldest go first."}
	optBatch = options.Option{Key: "lookup.batch-size", Kind: options.Int, Default: "5000", Doc: "Keys that are asked for at a time, at most."}
	optConns = options.Option{Key: "lookup.connections", Kind: options.Int, Default: "4", Doc: "Connections that look rows up at the same time, at most."}
	optTries = options.Option{Key: "lookup.retries", Kind: options.Int, Default: "5", Doc: "How often a question that the database could not answer is asked again, with growing pauses, before the batch is given up and tried anew."}
)

func declared() []options.Option {
	return append(pgclient.Options(), optPages, optTTL, optRows, optBatch, optConns, optTries)
}

// Connector returns the connector.
func Connector(fs vfsx.FS, clk clock.Clock) sources.Connector {
	return sources.Connector{
		Name: "postgres", Doc: "A table of a PostgreSQL database, as it is now, or looked up by key.", Options: declared(), Keyed: true,
		Infer: infer, New: newSource, Stats: stats,
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			t, err := parse(spec)
			if err != nil {
				return nil, err
			}
			return &opener{t: t, fs: fs, clock: clk}, nil
		},
	}
}

// table is a checked table.
type table struct {
	spec    sources.Spec
	config  pgclient.Config
	pages   int64
	ttl     time.Duration
	rowsMax int
	keysMax int
	conns   int
	tries   int
}

func parse(spec sources.Spec) (*table, error) {
	what, o := spec.String(), spec.Options
	if err := options.Check(what, o, declared()); err != nil {
		return nil, err
	}
	config, err := pgclient.Parse(what, spec.Table, o)
	if err != nil {
		return nil, err
	}
	t := &table{spec: spec, config: config, pages: o.Int(optPages), ttl: o.Duration(optTTL), rowsMax: int(o.Int(optRows)), keysMax: int(o.Int(optBatch)),
		conns: int(o.Int(optConns)), tries: int(o.Int(optTries))}
	for _, b := range []struct {
		o            options.Option
		v, low, high int64
	}{
		{optPages, t.pages, 0, 1 << 32}, {optRows, int64(t.rowsMax), 0, 1 << 30}, {optBatch, int64(t.keysMax), 1, 1 << 20},
		{optConns, int64(t.conns), 1, 1000}, {optTries, int64(t.tries), 0, 1000}, {optTTL, int64(t.ttl), 0, 1 << 62},
	} {
		if b.v < b.low || b.v > b.high {
			return nil, batch.UserErrorf("%s: option '%s' = '%s' is out of bounds", what, b.o.Key, o.Get(b.o))
		}
	}
	if len(spec.Meta) > 0 {
		return nil, batch.UserErrorf("%s: rows of a database have no metadata columns", what)
	}
	return t, nil
}

// describe looks the table up in the database.
func (t *table) describe(ctx context.Context, conn querier) (*pgclient.Table, error) {
	found, err := pgclient.Describe(ctx, conn, t.config.Table)
	if err != nil {
		return nil, pgclient.Classify(fmt.Errorf("%s: %w", t.spec, err))
	}
	if found == nil {
		return nil, batch.UserErrorf("%s: %s has no table %s", t.spec, t.config.Where(), t.config.Table)
	}
	return found, nil
}

// infer finds the columns.
func infer(ctx context.Context, spec sources.Spec) (*arrow.Schema, error) {
	t, err := parse(spec)
	if err != nil {
		return nil, err
	}
	conn, err := t.config.Connect(ctx, "sluice plan", nil)
	if err != nil {
		return nil, err
	}
	defer pgclient.Close(conn)
	found, err := t.describe(ctx, conn)
	if err != nil {
		return nil, err
	}
	var fields []arrow.Field
	for _, c := range found.Columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: typeOf(c), Nullable: !c.NotNull})
	}
	return arrow.NewSchema(fields, nil), nil
}

// columnOf finds the database's column for one that is declared.
func columnOf(found *pgclient.Table, f arrow.Field) (pgclient.Column, bool) {
	at := slices.IndexFunc(found.Columns, func(c pgclient.Column) bool { return c.Name == f.Name })
	if at < 0 {
		at = slices.IndexFunc(found.Columns, func(c pgclient.Column) bool { return strings.EqualFold(c.Name, f.Name) })
	}
	if at < 0 {
		return pgclient.Column{}, false
	}
	return found.Columns[at], true
}

// expressions are what the database is asked for to fill columns of the schema.
func (t *table) expressions(found *pgclient.Table, columns []int) ([]string, []pgclient.Column, error) {
	var faults, out []string
	var cols []pgclient.Column
	for _, i := range columns {
		f := t.spec.Schema.Field(i)
		c, ok := columnOf(found, f)
		if !ok {
			faults = append(faults, fmt.Sprintf("it has no column %q", f.Name))
			continue
		}
		e := expression(f.Type, c, t.spec.Zone)
		if e == "" {
			faults = append(faults, fmt.Sprintf("its column %q of type %s cannot be read as %s", c.Name, c.Type, f.Type))
		}
		out, cols = append(out, e), append(cols, c)
	}
	if len(faults) > 0 {
		return nil, nil, batch.UserErrorf("%s: table %s of %s does not fit: %s", t.spec, t.config.Table, t.config.Where(), strings.Join(faults, "; "))
	}
	return out, cols, nil
}
