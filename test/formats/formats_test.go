package formats

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/formats/avro"
	"github.com/sluice-stream/sluice/formats/registry"
	"github.com/sluice-stream/sluice/formats/registry/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a broker with one topic "t", and a registry.
type bed struct {
	t        *testing.T
	address  string
	cl       *kgo.Client
	registry *registrytest.Server
	tables   string // statements that declare tables
}

func newBed(t *testing.T) *bed {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := &bed{t: t, address: strings.Join(c.ListenAddrs(), ","), registry: registrytest.Start(t)}
	if b.cl, err = kgo.NewClient(kgo.SeedBrokers(b.address)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cl.Close)
	return b
}

// table declares a table of the topic; columns may be "".
func (b *bed) table(name, columns, more string) {
	if columns != "" {
		columns = "(" + columns + ")"
	}
	b.tables += fmt.Sprintf("CREATE TABLE %s %s WITH ('connector'='kafka', 'bootstrap.servers'='%s', 'topic'='t'%s);\n", name, columns, b.address,
		strings.ReplaceAll(more, "REGISTRY", "'schema-registry.url'='"+b.registry.URL+"'"))
}

func (b *bed) produce(recs ...*kgo.Record) {
	b.t.Helper()
	for _, r := range recs {
		r.Topic = "t"
	}
	if err := b.cl.ProduceSync(b.t.Context(), recs...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// run runs a statement over the tables, and returns its rows as text.
func (b *bed) run(statement string) ([]string, error) {
	b.t.Helper()
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: b.t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var rows []string
	err = s.Run(b.t.Context(), b.tables+statement, func(r *sluice.Result) error {
		for r.Rows != nil {
			rec, err := r.Rows.Next(b.t.Context())
			if errors.Is(err, io.EOF) {
				return r.Rows.Close()
			}
			if err != nil {
				return errors.Join(err, r.Rows.Close())
			}
			for i := range int(rec.NumRows()) {
				var cells []string
				for _, c := range rec.Columns() {
					cells = append(cells, c.ValueStr(i))
				}
				rows = append(rows, strings.Join(cells, " "))
			}
			rec.Release()
		}
		return nil
	})
	return rows, err
}

// want holds that a statement gives rows.
func (b *bed) want(statement string, rows ...string) {
	b.t.Helper()
	got, err := b.run(statement)
	if err != nil || !slices.Equal(got, rows) {
		b.t.Errorf("%s\ngot  %q (%v)\nwant %q", statement, got, err, rows)
	}
}

// fails holds that a statement gives an error with a text.
func (b *bed) fails(statement string, texts ...string) {
	b.t.Helper()
	rows, err := b.run(statement)
	if err == nil {
		b.t.Errorf("%s\ngave %q and no error", statement, rows)
		return
	}
	for _, want := range texts {
		if !strings.Contains(err.Error(), want) {
			b.t.Errorf("%s\nerror %q lacks %q", statement, err, want)
		}
	}
}

const columns = "id BIGINT, name STRING, price DECIMAL(10,2), at TIMESTAMP, day DATE, tags ARRAY<STRING>, addr STRUCT<city: STRING, zip: INT>, attrs MAP<STRING, DOUBLE>, ok BOOLEAN, raw BINARY"

const values = `(1, 'one', 1.50, TIMESTAMP '2026-01-31 12:00:00.123456', DATE '2026-01-31', ARRAY('a', NULL), named_struct('city', 'Ulm', 'zip', 89073), map('x', 0.5D), true, X'00FF'),
	(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (-9223372036854775808, 'ünï "x", y', -0.01, TIMESTAMP '1969-12-31 23:59:59.999', DATE '1969-12-31', ARRAY(), named_struct('city', NULL, 'zip', 0), map(), false, X'')`

var shown = []string{
	`-9223372036854775808 ünï "x", y -0.01 1969-12-31T23:59:59.999Z 1969-12-31 [] {"city":null,"zip":0} [] false `,
	`1 one 1.5 2026-01-31T12:00:00.123456Z 2026-01-31 ["a",null] {"city":"Ulm","zip":89073} [{"key":"x","value":0.5}] true AP8=`,
}

// TestWriteAndRead holds that what a table writes it reads again, in each format.
func TestWriteAndRead(t *testing.T) {
	for name, o := range map[string]string{
		"json":               ", 'format'='json'",
		"avro":               ", 'format'='avro'",
		"avro, registry":     ", 'format'='avro', REGISTRY",
		"avro, with schema":  ", 'format'='avro', 'avro.record-name'='shop.Row', REGISTRY, 'schema-registry.subject-name-strategy'='record-name'",
		"avro, and its key":  ", 'format'='avro', 'key-format'='avro', 'key-columns'='id', REGISTRY",
		"protobuf":           ", 'format'='protobuf'",
		"protobuf, registry": ", 'format'='protobuf', 'key-format'='protobuf', 'key-columns'='name', 'protobuf.message'='shop.v1.Row', REGISTRY",
		"json, key raw":      ", 'format'='json', 'key-format'='raw', 'key-columns'='name'",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.table("x", columns, o)
			in, out := values, slices.Clone(shown)
			if strings.HasPrefix(name, "protobuf") { // whose lists hold no NULL
				in, out[1] = strings.Replace(in, "'a', NULL", "'a'", 1), strings.Replace(out[1], `"a",null`, `"a"`, 1)
			}
			b.want("INSERT INTO x VALUES " + in)
			b.want("SELECT * FROM x WHERE ok IS NOT NULL ORDER BY id", out...)
			b.want("SELECT count(*), count(id), count(addr) FROM x", "3 2 2")
		})
	}
}

func TestCSV(t *testing.T) {
	b := newBed(t)
	b.table("x", "id BIGINT, name STRING, at TIMESTAMP, off BIGINT METADATA FROM 'offset' VIRTUAL", ", 'format'='csv', 'csv.delimiter'=';'")
	b.want("INSERT INTO x (id, name, at) VALUES (1, 'a;\"b', TIMESTAMP '2026-01-01 00:00:00'), (2, NULL, NULL)")
	b.produce(&kgo.Record{Value: []byte("3;\"x\ny\";2026-01-01 00:00:01\n")})
	b.want("SELECT off, id, name, at FROM x ORDER BY off", `0 1 a;"b 2026-01-01T00:00:00Z`, "1 2 (null) (null)", "3 3 x\ny 2026-01-01T00:00:01Z")
	b.produce(&kgo.Record{Value: []byte("4;b")})
	b.fails("SELECT id FROM x", "offset 4", "too few fields")
	b.table("y", "id BIGINT, name STRING, at TIMESTAMP", ", 'format'='csv', 'csv.delimiter'=';', 'csv.ragged-rows'='pad'")
	b.want("SELECT id, name, at FROM y WHERE id = 4", "4 b (null)")
}

// encoded is a value of Avro with its head.
func encoded(t *testing.T, id int32, schema string, fill func(b *array.RecordBuilder), fields ...arrow.Field) []byte {
	t.Helper()
	s, err := avro.Parse(schema)
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	fill(b)
	row, err := avro.Encode(s, b.NewRecordBatch())
	if err != nil {
		t.Fatal(err)
	}
	v, err := row(registry.AppendHead(nil, id), 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const (
	first  = `{"type":"record","name":"r","fields":[{"name":"id","type":"int"},{"name":"title","type":"string"}]}`
	second = `{"type":"record","name":"r","fields":[{"name":"id","type":"long"},{"name":"name","type":["null","string"],"default":null,"aliases":["title"]},{"name":"n","type":"int","default":7}]}`
	third  = `{"type":"record","name":"r","fields":[{"name":"id","type":"string"}]}`
)

// TestSchemasChange reads what several versions of a schema have written.
func TestSchemasChange(t *testing.T) {
	b := newBed(t)
	one, two := b.registry.Register(t, "t-value", registry.Schema{Text: first}), b.registry.Register(t, "t-value", registry.Schema{Text: second})
	text := arrow.BinaryTypes.String
	b.produce(
		&kgo.Record{Value: encoded(t, one, first, func(b *array.RecordBuilder) {
			b.Field(0).(*array.Int32Builder).Append(1)
			b.Field(1).(*array.StringBuilder).Append("a")
		}, arrow.Field{Name: "id", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "title", Type: text})},
		&kgo.Record{Value: encoded(t, two, second, func(b *array.RecordBuilder) {
			b.Field(0).(*array.Int64Builder).Append(1 << 40)
			b.Field(1).(*array.StringBuilder).Append("b")
			b.Field(2).(*array.Int32Builder).Append(2)
		}, arrow.Field{Name: "id", Type: arrow.PrimitiveTypes.Int64}, arrow.Field{Name: "name", Type: text}, arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int32})},
	)
	b.table("found", "", ", 'format'='avro', REGISTRY, 'avro.reader-version'='2'")
	b.want("SELECT id, name, n FROM found ORDER BY id", "1 a 7", "1099511627776 b 2")
	b.table("plain", "id BIGINT, name STRING, title STRING, n BIGINT, more DATE", ", 'format'='avro', REGISTRY")
	b.want("SELECT id, name, title, n, more FROM plain ORDER BY id", "1 (null) a (null) (null)", "1099511627776 b (null) 2 (null)")

	three := b.registry.Register(t, "t-value", registry.Schema{Text: third})
	b.produce(&kgo.Record{Value: encoded(t, three, third, func(b *array.RecordBuilder) { b.Field(0).(*array.StringBuilder).Append("x") }, arrow.Field{Name: "id", Type: text})})
	b.fails("SELECT * FROM plain", "offset 2", `schema 3 of subject "t-value"`, `field "id" is written as string, which cannot be read as int64`)
	b.produce(&kgo.Record{Value: []byte("hello")}, &kgo.Record{Value: registry.AppendHead(nil, 99)}, &kgo.Record{Value: registry.AppendHead(nil, one)})
	b.table("nulls", "id BIGINT", ", 'format'='avro', REGISTRY, 'bad-rows'='null'")
	b.want("SELECT count(*), count(id) FROM nulls", "6 2")
}

// TestKeys reads columns from keys beside those of values.
func TestKeys(t *testing.T) {
	b := newBed(t)
	b.table("w", "id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED", ", 'format'='avro', 'key-format'='avro', 'key-columns'='id', REGISTRY, 'changelog'='upsert'")
	b.want("INSERT INTO w VALUES (1, 'a'), (2, 'b'), (1, 'c')")
	for _, s := range []string{"t-key", "t-value"} {
		if b.registry.Asked("POST", "/subjects/"+s+"/versions") == 0 {
			t.Errorf("subject %s was not registered", s)
		}
	}
	b.want("SELECT id, name FROM w ORDER BY id", "1 c", "2 b")
	id, err := b.registryID("t-key")
	if err != nil {
		t.Fatal(err)
	}
	key := append(registry.AppendHead(nil, id), 4) // the long 2
	b.produce(&kgo.Record{Key: key})
	b.want("SELECT id, name FROM w ORDER BY id", "1 c")
	b.table("raws", "id STRING, v STRING", ", 'format'='csv', 'key-format'='raw', 'key-columns'='id'")
	b.want("SELECT count(id), count(v) FROM raws", "4 3")
	b.table("wrong", "v STRING", ", 'format'='raw', 'key-format'='raw', 'key-columns'='v'")
	b.fails("SELECT * FROM wrong", "'key-format' does not go with 'format' = 'raw'")
}

func (b *bed) registryID(subject string) (int32, error) {
	c, err := registry.Parse("test", map[string]string{"schema-registry.url": b.registry.URL})
	if err != nil {
		return 0, err
	}
	cl, err := registry.New(c)
	if err != nil {
		return 0, err
	}
	s, err := cl.Version(b.t.Context(), subject, registry.Latest)
	if err != nil {
		return 0, err
	}
	return s.ID, nil
}

// event is an envelope of Debezium in Avro.
const event = `{"type":"record","name":"Envelope","namespace":"db.t","fields":[
 {"name":"before","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"long"},{"name":"v","type":["null","string"],"default":null}]}],"default":null},
 {"name":"after","type":["null","Value"],"default":null},
 {"name":"source","type":{"type":"record","name":"Source","fields":[{"name":"db","type":"string"},{"name":"table","type":"string"},{"name":"ts_ms","type":"long"},{"name":"snapshot","type":["null","boolean"]}]}},
 {"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null}]}`

func row(id byte, v string) string {
	return string([]byte{2, id * 2, 2, byte(2 * len(v))}) + v
}

// eventOf is an event's bytes; a row is "" for null.
func eventOf(schema int32, op, before, after string) []byte {
	for _, r := range []*string{&before, &after} {
		if *r == "" {
			*r = "\x00"
		}
	}
	return append(registry.AppendHead(nil, schema), before+after+"\x04db"+"\x04tt"+"\xd0\x0f"+"\x02\x01"+"\x02"+op+"\x02\xa0\x1f"...)
}

func TestDebeziumAvro(t *testing.T) {
	b := newBed(t)
	id := b.registry.Register(t, "t-value", registry.Schema{Text: event})
	key := b.registry.Register(t, "t-key", registry.Schema{Text: `{"type":"record","name":"Key","fields":[{"name":"id","type":"long"}]}`})
	keyOf := func(id byte) []byte { return append(registry.AppendHead(nil, key), id*2) }
	b.produce(
		&kgo.Record{Key: keyOf(1), Value: eventOf(id, "c", "", row(1, "a"))},
		&kgo.Record{Key: keyOf(2), Value: eventOf(id, "r", "", row(2, "b"))},
		&kgo.Record{Key: keyOf(1), Value: eventOf(id, "u", row(1, "a"), row(1, "c"))},
		&kgo.Record{Key: keyOf(2), Value: eventOf(id, "d", row(2, "b"), "")},
		&kgo.Record{Key: keyOf(2)},
		&kgo.Record{Key: keyOf(3), Value: eventOf(id, "c", "", row(3, "d"))},
	)
	b.table("x", "", ", 'format'='debezium-avro', REGISTRY")
	b.want("SELECT id, v FROM x ORDER BY id", "1 c", "3 d")
	b.table("m", "id BIGINT, db STRING METADATA FROM 'value.source.database' VIRTUAL, at TIMESTAMP METADATA FROM 'value.source.timestamp' VIRTUAL, "+
		"p MAP<STRING, STRING> METADATA FROM 'value.source.properties' VIRTUAL, off BIGINT METADATA FROM 'offset' VIRTUAL, PRIMARY KEY (id) NOT ENFORCED", ", 'format'='debezium-avro', REGISTRY, 'changelog'='upsert'")
	b.want("SELECT id, db, at, p['snapshot'], p['table'], off FROM m WHERE id = 3", "3 db 1970-01-01T00:00:01Z true tt 5")
	b.produce(&kgo.Record{Key: keyOf(3), Value: eventOf(id, "d", "", "")})
	b.fails("SELECT * FROM x", "offset 6", "REPLICA IDENTITY FULL")
	b.table("u", "id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED", ", 'format'='debezium-avro', REGISTRY, 'changelog'='upsert'")
	b.want("SELECT id, v FROM u ORDER BY id", "1 c")
	b.produce(&kgo.Record{Key: keyOf(3), Value: eventOf(id, "t", "", "")})
	b.fails("SELECT * FROM u", "offset 7", "truncated")
}

// TestReferences reads messages whose schemas use others.
func TestReferences(t *testing.T) {
	b := newBed(t)
	b.registry.Register(t, "address", registry.Schema{Type: registry.Protobuf, Text: `syntax = "proto3"; package a; message Address { string city = 1; }`})
	id := b.registry.Register(t, "t-value", registry.Schema{Type: registry.Protobuf, Text: `syntax = "proto3"; import "address.proto"; message Other {} message Order { int64 id = 1; a.Address to = 2; }`,
		References: []registry.Reference{{Name: "address.proto", Subject: "address", Version: 1}}})
	b.produce(&kgo.Record{Value: append(registry.AppendIndexes(registry.AppendHead(nil, id), []int{1}), "\x08\x05\x12\x05\x0a\x03Ulm"...)})
	b.table("x", "", ", 'format'='protobuf', 'protobuf.message'='Order', REGISTRY")
	b.want("SELECT id, to.city FROM x", "5 Ulm")
	b.table("y", "id STRING", ", 'format'='protobuf', REGISTRY")
	b.fails("SELECT * FROM y", `schema 2 of subject "t-value"`, `field "id" is written as int64, which cannot be read as utf8`)
}
