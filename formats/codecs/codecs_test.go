package codecs

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/registry/registrytest"
	"github.com/sluice-stream/sluice/internal/options"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPoison holds in every format that a bad message is an error and never a row that
// stays, that good ones around it are read, and that a row which is there all the same is
// told, so that it can be dropped.
func TestPoison(t *testing.T) {
	columns := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int8, Nullable: true}}, nil)
	for name, m := range map[string]struct{ good, value, broken string }{
		"json":     {`{"id":1}`, `{"id":1000}`, `{"id":`},
		"csv":      {"1", "1000", "1,2"},
		"raw":      {"1", "1000", "x"},
		"avro":     {"\x02\x02", "\x02\xd0\x0f", "\x04"},
		"protobuf": {"\x08\x01", "\x08\xe8\x07", "\x08"},
	} {
		for _, policy := range []string{"fail", "null", "quarantine"} {
			t.Run(name+", "+policy, func(t *testing.T) {
				mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
				defer mem.AssertSize(t, 0)
				c, err := Open(name, Spec{Config: formats.Config{Options: options.Map{"bad-rows": policy}}, What: `table "t"`, Schema: columns, Record: "t"})
				if err != nil {
					t.Fatal(err)
				}
				d, err := c.NewDecoder(columns, mem)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Release()
				for _, b := range []string{m.good, m.value, m.broken, m.good} {
					before := d.Rows()
					rows, err := d.Decode(t.Context(), []byte(b))
					if bad := b != m.good; bad != (err != nil) && policy != "null" || policy == "null" && (err != nil || rows != 1) {
						t.Errorf("%q: %d rows, %v", b, rows, err)
					}
					if policy == "fail" && err != nil {
						return // only Release may follow
					}
					if d.Rows() != before+rows {
						t.Errorf("%q: %d rows are told, %d are there", b, rows, d.Rows()-before)
					}
				}
				rec := d.Flush()
				defer rec.Release()
				if n := rec.Column(0).Len(); int64(n) != rec.NumRows() {
					t.Errorf("%d values in %d rows", n, rec.NumRows())
				}
			})
		}
	}
}

// TestNoRegistry holds that a registry that fails is no fault of a message.
func TestNoRegistry(t *testing.T) {
	s := registrytest.Start(t)
	s.Fail(1000, 503)
	columns := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	for _, name := range []string{"avro", "protobuf"} {
		for _, policy := range []string{"null", "quarantine"} {
			c, err := Open(name, Spec{Config: formats.Config{Options: options.Map{"bad-rows": policy, "schema-registry.url": s.URL, "schema-registry.retries": "1"}}, What: "t", Topic: "t", Schema: columns})
			if err != nil {
				t.Fatal(err)
			}
			d, err := c.NewDecoder(columns, memory.DefaultAllocator)
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.Decode(t.Context(), []byte("\x00\x00\x00\x00\x01\x00\x02"))
			if k, again := batch.KindOf(err); k != batch.External || !again || !strings.Contains(err.Error(), "503") {
				t.Errorf("%s, %s: %v", name, policy, err)
			}
			d.Release()
		}
	}
}
