package formats

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/formats/registry"
)

// TestPoison holds in SQL, in each format, that messages which cannot be read follow their
// table's policy: they stop the query with their place, become rows of NULLs, or lie in
// the quarantine table as they came; the good ones around them are read. In an event that
// is none nothing says what it changes, so that no NULL can stand for it.
func TestPoison(t *testing.T) {
	for format, c := range map[string]struct{ first, broken, tooBig, last string }{
		"json":          {`{"id":1}`, `{"id":`, `{"id":1000}`, `{"id":2}`},
		"csv":           {"1", `"3`, "1000", "2"},
		"avro":          {"\x02\x02", "\x04", "\x02\xd0\x0f", "\x02\x04"},
		"protobuf":      {"\x08\x01", "\x08", "\x08\xe8\x07", "\x08\x02"},
		"debezium-json": {`{"after":{"id":1},"op":"c"}`, `{"after":`, `{"after":{"id":1000},"op":"c"}`, `{"after":{"id":2},"op":"c"}`},
	} {
		t.Run(format, func(t *testing.T) {
			b := newBed(t)
			for _, v := range []string{c.first, c.broken, c.tooBig, c.last} {
				b.produce(&kgo.Record{Value: []byte(v)})
			}
			for _, policy := range []string{"fail", "null", "quarantine"} {
				b.table("t_"+policy, "id TINYINT", fmt.Sprintf(", 'format'='%s', 'bad-rows'='%s', 'quarantine-table'='bad'", format, policy))
			}
			const second = `topic "t", partition 0, offset 1: `
			b.fails("SELECT id FROM t_fail", second)
			if nulls := "SELECT id, count(*) FROM t_null GROUP BY id ORDER BY id NULLS LAST"; format == "debezium-json" {
				b.fails(nulls, second)
				values := newBed(t) // of an event that is one
				values.produce(&kgo.Record{Value: []byte(c.tooBig)}, &kgo.Record{Value: []byte(c.last)})
				values.table("x", "id TINYINT", ", 'format'='debezium-json', 'bad-rows'='null'")
				values.want("SELECT id FROM x ORDER BY id NULLS LAST", "2", "(null)")
			} else {
				b.want(nulls, "1 1", "2 1", "(null) 2")
			}
			b.want("SELECT id FROM t_quarantine ORDER BY id; SELECT position, hex(raw), reason IS NOT NULL FROM bad ORDER BY position",
				"1", "2", fmt.Sprintf("1 %X true", c.broken), fmt.Sprintf("2 %X true", c.tooBig))
		})
	}
}

// TestPoisonInDebeziumAvro holds the same of events in Avro: what is none stops the query
// unless it can be set aside, and a value that does not fit its column is NULL.
func TestPoisonInDebeziumAvro(t *testing.T) {
	b := newBed(t)
	id := b.registry.Register(t, "t-value", registry.Schema{Text: event})
	whole := eventOf(id, "c", "", row(2, "b"))
	broken := registry.AppendHead(nil, id)
	broken = append(broken, whole[len(broken):len(whole)/2]...)
	big := eventOf(id, "c", "", "\x02\xd0\x0f\x00") // the id is 1000, and v is NULL
	produced := [][]byte{eventOf(id, "c", "", row(1, "a")), big, whole, broken}
	for _, v := range produced[:3] {
		b.produce(&kgo.Record{Value: v})
	}
	for _, policy := range []string{"fail", "null", "quarantine"} {
		b.table("t_"+policy, "id TINYINT", fmt.Sprintf(", 'format'='debezium-avro', REGISTRY, 'bad-rows'='%s', 'quarantine-table'='bad'", policy))
	}
	b.fails("SELECT id FROM t_fail", `topic "t", partition 0, offset `)
	b.want("SELECT id FROM t_null ORDER BY id NULLS LAST", "1", "2", "(null)")
	b.produce(&kgo.Record{Value: broken})
	b.fails("SELECT id FROM t_null", `topic "t", partition 0, offset 3: `)
	b.want("SELECT id FROM t_quarantine ORDER BY id; SELECT position, hex(raw), reason IS NOT NULL FROM bad ORDER BY position",
		"1", "2", fmt.Sprintf("1 %X true", big), fmt.Sprintf("3 %X true", broken))
}
