package file

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/sinks"
)

// takes checks that the files can hold what an output mode puts out.
func (t *target) takes(mode sinks.Mode, opColumn string, fail func(string, ...any) error) error {
	t.opColumn, t.envelope = opColumn, t.format.Changes == formats.Envelope
	if opColumn != "" && t.format.Changes != formats.OpColumn {
		return fail("'changelog.op-column' is for the formats csv and json")
	}
	if opColumn != "" && slices.ContainsFunc(t.spec.Schema.Fields(), func(f arrow.Field) bool { return strings.EqualFold(f.Name, opColumn) }) {
		return fail("column %q is the 'changelog.op-column', too", opColumn)
	}
	changes := opColumn != "" || t.envelope
	switch mode {
	case sinks.Append, sinks.Complete:
		return nil
	case sinks.Changelog:
		if changes && t.compact {
			return fail("option 'compaction' would bring changes out of their order")
		}
		if changes {
			return nil
		}
		return fail("plain files cannot take output mode changelog: use 'format' = 'debezium-json', or name a field for the kind of change with 'changelog.op-column'")
	case sinks.Update:
		if changes {
			return fail("files of changes take output mode changelog, not update: a row that is replaced is told with the row before it")
		}
	}
	return fail("plain files cannot take output mode %s: they have no way to change a row; use append or complete", mode)
}

// changeFields adds the kind of change to the fields of the files, where they have it.
func (t *target) changeFields(fields []arrow.Field) []arrow.Field {
	switch {
	case t.opColumn != "":
		return append([]arrow.Field{{Name: t.opColumn, Type: arrow.BinaryTypes.String}}, fields...)
	case t.envelope:
		return append(fields, arrow.Field{Name: sinks.OpColumn, Type: arrow.PrimitiveTypes.Int8})
	}
	return fields
}

// withChanges puts the kind of change among the columns of the files. done releases
// what was made for it.
func (w *writer) withChanges(rec arrow.RecordBatch, cols []arrow.Array) (_ []arrow.Array, done func(), err error) {
	if w.t.opColumn == "" && !w.t.envelope {
		return cols, func() {}, nil
	}
	var ops *array.Int8
	if int(rec.NumCols()) > w.columns {
		var ok bool
		if ops, ok = rec.Column(w.columns).(*array.Int8); !ok {
			return nil, nil, fmt.Errorf("table %q: the change column is %s", w.t.spec.Table, rec.Column(w.columns).DataType())
		}
	}
	of := func(i int) sinks.Op {
		if ops == nil {
			return sinks.Insert
		}
		return sinks.Op(ops.Value(i))
	}
	n := int(rec.NumRows())
	if w.t.envelope {
		b := array.NewInt8Builder(w.alloc)
		defer b.Release()
		for i := range n {
			b.Append(int8(of(i)))
		}
		a := b.NewArray()
		return append(cols, a), a.Release, nil
	}
	b := array.NewStringBuilder(w.alloc)
	defer b.Release()
	for i := range n {
		b.Append(of(i).String())
	}
	a := b.NewArray()
	return append([]arrow.Array{a}, cols...), a.Release, nil
}
