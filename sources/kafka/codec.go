package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/builders"
	"github.com/sluice-stream/sluice/formats/codecs"
	"github.com/sluice-stream/sluice/internal/options"
)

var (
	optKeyFormat  = options.Option{Key: "key-format", Kind: options.Enum, Values: codecs.Names(), Doc: "What a message's key is: one of the formats of values, or raw, the text or bytes of its one column. A source reads the columns of 'key-columns' from keys if both options are set; a sink writes json unless it is set."}
	optKeyColumns = options.Option{Key: "key-columns", Kind: options.Text, Doc: "Columns that make the message's key, separated by commas; a sink takes those of the PRIMARY KEY by default."}
)

// parseCodecs makes the codecs of values and keys.
func (t *table) parseCodecs() (err error) {
	keyFormat, names := t.spec.Options.Get(optKeyFormat), t.spec.Options.Get(optKeyColumns)
	keyed := keyFormat != "" && names != ""
	if keyed && (t.format == "raw" || !slices.Contains(codecs.Names(), t.format)) {
		return t.userError("'key-format' does not go with 'format' = '%s'", t.format)
	}
	spec := t.codecSpec()
	if codecs.TellsChanges(t.format) {
		t.events, err = codecs.OpenChanges(t.format, spec)
		return err
	}
	key := spec
	if t.schema != nil {
		if spec.Schema, key.Schema, err = t.split(names, keyed); err != nil {
			return err
		}
	}
	if t.valueCodec, err = codecs.Open(t.format, spec); err != nil || !keyed {
		return err
	}
	key.Key = true
	t.keyCodec, err = codecs.Open(keyFormat, key)
	return err
}

func (t *table) codecSpec() codecs.Spec {
	spec := codecs.Spec{Config: t.config, What: t.spec.String(), Record: t.spec.Table}
	if len(t.topics) == 1 {
		spec.Topic = t.topics[0]
	}
	return spec
}

// split parts the columns of the value from those of the key.
func (t *table) split(names string, keyed bool) (value, key *arrow.Schema, err error) {
	t.keyed = map[string]bool{}
	var own, keys []arrow.Field
	if keyed {
		for name := range strings.SplitSeq(names, ",") {
			name = strings.TrimSpace(name)
			i := slices.IndexFunc(t.schema.Fields(), func(f arrow.Field) bool { return strings.EqualFold(f.Name, name) })
			if i < 0 || t.meta[i] != "" {
				return nil, nil, t.userError("option '%s' names %q, which is no column of messages", optKeyColumns.Key, name)
			}
			t.keyed[t.schema.Field(i).Name] = true
			keys = append(keys, t.schema.Field(i))
		}
	}
	for i, f := range t.schema.Fields() {
		if _, meta := t.meta[i]; !meta && !t.keyed[f.Name] {
			own = append(own, f)
		}
	}
	return arrow.NewSchema(own, nil), arrow.NewSchema(keys, nil), nil
}

// find asks the codecs for the columns of a table that declares none: those of the key
// come first.
func (t *table) find(ctx context.Context) (*arrow.Schema, error) {
	if t.events != nil {
		return t.events.Infer(ctx)
	}
	value, err := t.valueCodec.Infer(ctx)
	if err != nil || t.keyCodec == nil {
		return value, err
	}
	key, err := t.keyCodec.Infer(ctx)
	if err != nil {
		return nil, err
	}
	fields := slices.Clone(key.Fields())
	for _, f := range value.Fields() {
		if _, there := key.FieldsByName(f.Name); !there {
			fields = append(fields, f)
		}
	}
	return arrow.NewSchema(fields, nil), nil
}

// codecValues are rows of codecs: columns of the value, beside them those of the key. Of
// upserts a message without a value deletes the row of its key.
type codecValues struct {
	schema *arrow.Schema
	value  codecs.Decoder
	key    codecs.Decoder // nil if the key has no columns
	from   []int          // of each column: its place in the value, behind that in the key, or -1 for the kind of change
	upsert bool
	op     int // column of the kind of change, -1 if nobody asks
	ops    *array.Int8Builder
}

func newCodecValues(t *table, schema *arrow.Schema, alloc memory.Allocator) (values, error) {
	v := &codecValues{schema: schema, upsert: t.changes == batch.Upserts, op: -1}
	var own, keys []arrow.Field
	for _, f := range schema.Fields() {
		if !t.keyed[f.Name] && f.Name != batch.OpColumn {
			own = append(own, f)
		}
	}
	for i, f := range schema.Fields() {
		switch {
		case f.Name == batch.OpColumn:
			v.op = i
			v.from = append(v.from, -1)
		case t.keyed[f.Name]:
			v.from = append(v.from, len(own)+len(keys))
			keys = append(keys, f)
		default:
			v.from = append(v.from, slices.IndexFunc(own, func(o arrow.Field) bool { return o.Name == f.Name }))
		}
	}
	var err error
	if v.value, err = t.valueCodec.NewDecoder(arrow.NewSchema(own, nil), alloc); err != nil {
		return nil, err
	}
	if t.keyCodec != nil {
		if v.key, err = t.keyCodec.NewDecoder(arrow.NewSchema(keys, nil), alloc); err != nil {
			v.value.Release()
			return nil, err
		}
	}
	v.ops = array.NewInt8Builder(alloc)
	return v, nil
}

func (v *codecValues) decode(ctx context.Context, m *message) (rows int, err error) {
	op, text := batch.UpdateAfter, m.value
	if text == nil && v.upsert {
		if m.key == nil {
			return 0, fmt.Errorf("a message without key and value deletes nothing")
		}
		op, text = batch.Delete, m.key
	}
	switch {
	case m.value == nil && (!v.upsert || v.key != nil):
		v.value.AppendNull()
		rows = 1
	default:
		rows, err = v.value.Decode(ctx, text)
	}
	if v.key != nil {
		rows, err = v.decodeKey(ctx, m.key, rows, err)
	}
	for range rows {
		if v.op >= 0 {
			v.ops.Append(int8(op))
		}
	}
	return rows, err
}

// decodeKey appends the key's columns beside the row of the value, if there is one. A bad
// value's row is made whole, so that it can be dropped.
func (v *codecValues) decodeKey(ctx context.Context, key []byte, rows int, failed error) (int, error) {
	n := 1
	var err error
	if key == nil {
		v.key.AppendNull()
	} else if n, err = v.key.Decode(ctx, key); err != nil {
		err = fmt.Errorf("the key: %w", err)
	}
	if failed == nil {
		failed = err
	}
	if failed == nil || n == rows {
		return rows, failed
	}
	if n == 0 {
		v.key.AppendNull()
	} else {
		v.value.AppendNull()
	}
	return 1, failed
}

func (v *codecValues) Rows() int { return v.value.Rows() }

func (v *codecValues) Flush() arrow.RecordBatch {
	beside := []builders.Beside{{At: v.op, B: v.ops}}
	if v.key == nil {
		return builders.Join(v.schema, v.from, v.value.Flush(), beside...)
	}
	rec, keys := v.value.Flush(), v.key.Flush()
	defer rec.Release()
	defer keys.Release()
	fields := slices.Concat(rec.Schema().Fields(), keys.Schema().Fields())
	all := array.NewRecordBatch(arrow.NewSchema(fields, nil), slices.Concat(rec.Columns(), keys.Columns()), rec.NumRows())
	return builders.Join(v.schema, v.from, all, beside...)
}

func (v *codecValues) Release() {
	v.value.Release()
	if v.key != nil {
		v.key.Release()
	}
	v.ops.Release()
}
