package nexmark

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/sourcetest"
)

// BenchmarkGenerate measures one core: events (not rows) a second, for the table
// of everything, for each flat table and for what q0 to q2 and q5 read.
func BenchmarkGenerate(b *testing.B) {
	for _, bench := range []struct {
		name, kind, columns string
	}{
		{"all", "all", ""},
		{"person", "person", ""},
		{"auction", "auction", ""},
		{"bid", "bid", ""},
		{"bid-q0", "bid", "auction bidder price dateTime extra"},
		{"bid-q1", "bid", "auction bidder price dateTime"},
		{"bid-q5", "bid", "auction dateTime"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			spec := sources.Spec{Table: "t", Stream: true, Options: options.Map{"event-type": bench.kind}}
			o, err := Connector(nil).NewOpener(spec)
			if err != nil {
				b.Fatal(err)
			}
			var columns []int
			for _, c := range strings.Fields(bench.columns) {
				columns = append(columns, schemaOf(bid).FieldIndices(c)...)
			}
			const events = 1 << 16
			b.ReportAllocs()
			for b.Loop() {
				sourcetest.Read(b, o, batch.Split{Payload: []byte("1000000 1065536")}, columns, func(arrow.RecordBatch) {})
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
