package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/sinks"
)

var (
	optCreate = options.Option{Key: "create-table", Kind: options.Boolean, Default: "false", Doc: "Whether the table is made if it is not there, with a primary key if the declared table has one."}
	optMeta   = options.Option{Key: "batches-table", Kind: options.Text, Doc: "The table that keeps which batch of which query the database holds, one row for each; it is made if it is not there. By default sluice_batches beside the table."}
	optBuffer = options.Option{Key: "buffer-bytes", Kind: options.Bytes, Default: "64MiB", Doc: "Bytes of rows, as text, that wait in memory for their batch's commit; what is more waits in a temporary file."}
)

func declared() []options.Option {
	return append([]options.Option{optCreate, optMeta, optBuffer}, pgclient.Options()...)
}

// Connector returns the connector.
func Connector() sinks.Connector {
	return sinks.Connector{
		Name: "postgres", Doc: "A table of a PostgreSQL database, exactly once.", Options: declared(),
		Modes:         []sinks.Mode{sinks.Append, sinks.Update, sinks.Complete},
		Volatile:      true,
		Transactional: func(spec sinks.Spec) bool { return !spec.Batch },
		Check: func(spec sinks.Spec) error {
			_, err := parse(spec)
			return err
		},
		New: func(ctx context.Context, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory, error) {
			t, err := parse(spec)
			if err != nil {
				return nil, nil, err
			}
			return open(ctx, t)
		},
	}
}

// target is a checked table.
type target struct {
	spec   sinks.Spec
	config pgclient.Config
	meta   pgclient.Name
	create bool
	buffer int64
	// keys are the positions of the columns by which rows are upserted, none for rows that only come.
	keys []int
	// columns are those of the database for each of the schema's, once it was asked.
	columns []pgclient.Column
}

func parse(spec sinks.Spec) (*target, error) {
	what, o := fmt.Sprintf("table %q", spec.Table), spec.Options
	if err := options.Check(what, o, declared()); err != nil {
		return nil, err
	}
	config, err := pgclient.Parse(what, spec.Table, o)
	if err != nil {
		return nil, err
	}
	t := &target{spec: spec, config: config, create: o.Bool(optCreate), buffer: o.Bytes(optBuffer), meta: config.Table.Beside("sluice_batches")}
	if v := o.Get(optMeta); v != "" {
		if t.meta, err = pgclient.ParseName(v); err != nil {
			return nil, t.userError("option '%s': %v", optMeta.Key, err)
		}
	}
	for _, name := range spec.Keys {
		i := slices.IndexFunc(spec.Schema.Fields(), byName(name))
		if i < 0 {
			return nil, t.userError("the key's column %q is not among the columns that are written", name)
		}
		t.keys = append(t.keys, i)
	}
	if spec.Mode == sinks.Changelog {
		return nil, t.userError("the database holds rows and no changes: output mode %s has no form there; use update", spec.Mode)
	}
	for _, f := range spec.Schema.Fields() {
		if _, err := columnType(f.Type); err != nil {
			return nil, t.userError("column %q: %v", f.Name, err)
		}
		if strings.ContainsRune(f.Name, 0) || f.Name == "" {
			return nil, t.userError("column %q: no column of a database can have this name", f.Name)
		}
	}
	return t, nil
}

func (t *target) userError(format string, args ...any) error {
	return batch.UserErrorf("table %q: %s", t.spec.Table, fmt.Sprintf(format, args...))
}

// replaces reports whether each batch takes the place of all rows.
func (t *target) replaces() bool {
	return t.spec.Mode == sinks.Complete || t.spec.Mode == sinks.Update && t.spec.OneRow && len(t.keys) == 0
}

// upserts reports whether rows take the place of others with their key.
func (t *target) upserts() bool { return !t.replaces() && len(t.keys) > 0 }
