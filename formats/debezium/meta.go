package debezium

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats/json"
)

// metaColumn is a column that an event tells besides its rows.
type metaColumn struct {
	at  int
	key string
	b   array.Builder
}

func newMeta(at int, key string, dt arrow.DataType, alloc memory.Allocator) metaColumn {
	return metaColumn{at: at, key: key, b: array.NewBuilder(alloc, dt)}
}

// append puts the event's value behind the others, also where there is an error.
func (m *metaColumn) append(e *event) error {
	switch m.key {
	case "value.schema":
		return m.put(e.schema)
	case "value.ingestion-timestamp":
		return m.put(e.time)
	case "value.source.timestamp":
		return m.put(e.of("ts_ms"))
	case "value.source.database":
		return m.put(e.of("db"))
	case "value.source.schema":
		return m.put(e.of("schema"))
	case "value.source.table":
		return m.put(e.of("table"))
	}
	return m.properties(e)
}

// of is a member of the event's source.
func (e *event) of(name string) (out part) {
	if !e.source.null() {
		_ = json.Members(e.source.text, func(key, value []byte, _ int) { // checked before; what is no object has none
			if string(key) == name {
				out = part{text: value}
			}
		})
	}
	return out
}

func (m *metaColumn) put(p part) error {
	if p.null() {
		m.b.AppendNull()
		return nil
	}
	switch b := m.b.(type) {
	case *array.StringBuilder:
		b.Append(string(json.Unquote(p.text)))
	case *array.TimestampBuilder:
		ms, err := strconv.ParseInt(string(json.Unquote(p.text)), 10, 64)
		if err != nil || ms > 1<<53 || ms < -1<<53 {
			b.AppendNull()
			return fmt.Errorf("metadata '%s': cannot read %q as milliseconds", m.key, p.text)
		}
		b.Append(arrow.Timestamp(ms * 1000))
	default:
		b.AppendNull()
	}
	return nil
}

// properties puts the members of the source as texts.
func (m *metaColumn) properties(e *event) error {
	b, ok := m.b.(*array.MapBuilder)
	if !ok || e.source.null() {
		m.b.AppendNull()
		return nil
	}
	b.Append(true)
	seen := map[string]bool{}
	return json.Members(e.source.text, func(key, value []byte, _ int) {
		if seen[string(key)] {
			return
		}
		seen[string(key)] = true
		b.KeyBuilder().(*array.StringBuilder).Append(string(key))
		if json.IsNull(value) {
			b.ItemBuilder().AppendNull()
			return
		}
		b.ItemBuilder().(*array.StringBuilder).Append(string(json.Unquote(value)))
	})
}
