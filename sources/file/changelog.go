package file

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// readChanges finds out by the options what the rows of the files tell of the table.
func (t *table) readChanges() error {
	o := t.config.Options
	t.opColumn = o.Get(optOpColumn)
	how := formats.NoChanges
	if name := o.Get(optFormat); name != "" {
		f, err := t.reg.Lookup(name)
		if err != nil {
			return err
		}
		how = f.Changes
	} else if f, ok := t.reg.ByExtension(t.path); ok {
		how = f.Changes
	} else if t.opColumn != "" {
		return t.userError("set 'format' to 'csv' or 'json', whose files can have a 'changelog.op-column'")
	}
	told := how == formats.Envelope || t.opColumn != ""
	switch mode := o.Get(optChangelog); {
	case t.opColumn != "" && how != formats.OpColumn:
		return t.userError("'changelog.op-column' is for the formats csv and json")
	case mode == "none" && told:
		return t.userError("'changelog' = 'none' does not go with a format or column that tells of changes; use retract or upsert")
	case mode == "retract" && !told:
		return t.userError("'changelog' = 'retract' needs to know what a row does: set 'changelog.op-column', or use 'format' = 'debezium-json'")
	case mode == "upsert":
		t.changes = batch.Upserts
	case told:
		t.changes = batch.Retracts
	}
	if s := t.spec.Schema; s != nil && t.opColumn != "" {
		if slices.ContainsFunc(s.Fields(), func(f arrow.Field) bool { return strings.EqualFold(f.Name, t.opColumn) }) {
			return t.userError("column %q is the 'changelog.op-column' and no column of the table: what is taken back would differ from what was added", t.opColumn)
		}
	}
	return nil
}

// opField is the field of the files that is read for the kind of change; ok is false
// if there is none.
func (t *table) opField() (f arrow.Field, ok bool) {
	switch {
	case t.opColumn != "":
		return formats.OpField(t.opColumn), true
	case t.changes == batch.OnlyGrows || !t.envelope():
		return f, false
	}
	return changeField, true
}

var changeField = arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8}

// envelope reports whether the format's records are changes.
func (t *table) envelope() bool {
	f, err := t.reg.Lookup(t.config.Options.Get(optFormat))
	return err == nil && f.Changes == formats.Envelope
}

// bindOp finds the kind of change of the rows: in the file, or each row is an upsert.
func (r *reader) bindOp(file []arrow.Field) []arrow.Field {
	if f, ok := r.t.opField(); ok {
		r.op = len(r.from)
		r.from, r.fill = append(r.from, len(file)), append(r.fill, nil)
		return append(file, f)
	}
	r.from = append(r.from, -1)
	r.fill = append(r.fill, func(n int) (arrow.Array, error) {
		b := array.NewInt8Builder(r.alloc)
		defer b.Release()
		b.Reserve(n)
		for range n {
			b.UnsafeAppend(int8(batch.UpdateAfter))
		}
		return b.NewArray(), nil
	})
	return file
}

// checkOp refuses rows of which nobody knows what they do.
func (r *reader) checkOp(cols []arrow.Array) error {
	if r.op < 0 || cols[r.op].NullN() == 0 {
		return nil
	}
	return batch.UserErrorf("file %q: a row does not say what it changes, and 'bad-rows' = 'null' cannot tell: use 'fail' or 'quarantine'", r.e.Path)
}
