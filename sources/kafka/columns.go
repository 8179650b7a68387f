package kafka

import (
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/formats/codecs"
	"github.com/sluice-stream/sluice/formats/debezium"
	"github.com/sluice-stream/sluice/internal/options"
)

// The metadata keys.
const (
	metaTopic     = "topic"
	metaPartition = "partition"
	metaOffset    = "offset"
	metaTime      = "timestamp"
	metaTimeType  = "timestamp-type"
	metaKey       = "key"
	metaHeaders   = "headers"
)

var instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}

// metaTypes are the types that each key can be declared with.
var metaTypes = map[string][]arrow.DataType{
	metaTopic: {arrow.BinaryTypes.String}, metaPartition: {arrow.PrimitiveTypes.Int32}, metaOffset: {arrow.PrimitiveTypes.Int64},
	metaTime:     {instant, &arrow.TimestampType{Unit: arrow.Microsecond}},
	metaTimeType: {arrow.BinaryTypes.String},
	metaKey:      {arrow.BinaryTypes.Binary, arrow.BinaryTypes.String},
	metaHeaders: {arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.Binary),
		arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String)},
}

// plain are the columns of a table that declares none.
var plain = arrow.NewSchema([]arrow.Field{
	{Name: "key", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: metaTopic, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: metaPartition, Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: metaOffset, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: metaTime, Type: instant, Nullable: true},
}, nil)

// parseColumns finds out which columns are metadata.
func (t *table) parseColumns() error {
	t.meta = map[int]string{}
	t.schema = t.spec.Schema
	if t.schema == nil && codecs.Finds(t.format, t.spec.Options) {
		return nil // they are asked for
	}
	if t.schema == nil || t.spec.Inferred && t.format == "raw" {
		if t.format != "raw" {
			return t.userError("the columns of a topic are not looked for in its messages: declare them, or set 'format' = 'raw' for key, value and metadata as they are")
		}
		t.schema = plain
		for i, f := range plain.Fields() {
			if f.Name != "value" {
				t.meta[i] = f.Name
			}
		}
		return nil
	}
	for _, m := range t.spec.Meta {
		f := t.schema.Field(m.Column)
		want, ok := metaTypes[m.Key]
		if dt, is := debezium.Meta[m.Key]; !ok && is && codecs.TellsChanges(t.format) {
			want, ok = []arrow.DataType{dt}, true
		}
		if !ok {
			keys := slices.Sorted(maps.Keys(metaTypes))
			if codecs.TellsChanges(t.format) {
				keys = append(keys, slices.Sorted(maps.Keys(debezium.Meta))...)
			}
			return t.userError("METADATA FROM '%s' is unknown%s: want one of %s", m.Key, options.Suggest(m.Key, keys), strings.Join(keys, ", "))
		}
		if !slices.ContainsFunc(want, func(dt arrow.DataType) bool { return arrow.TypeEqual(dt, f.Type) }) {
			return t.userError("column %q: metadata '%s' is of type %s, not %s", f.Name, m.Key, want[0], f.Type)
		}
		t.meta[m.Column] = m.Key
	}
	if t.format != "raw" {
		return nil
	}
	seen := ""
	for i, f := range t.schema.Fields() {
		if _, is := t.meta[i]; is {
			continue
		}
		if seen != "" {
			return t.userError("'format' = 'raw' fills one column besides metadata, and %q and %q are two", seen, f.Name)
		}
		if seen = f.Name; f.Type.ID() != arrow.STRING && f.Type.ID() != arrow.BINARY {
			return t.userError("'format' = 'raw' fills a column of type STRING or BINARY, and %q is %s", f.Name, f.Type)
		}
	}
	return nil
}
