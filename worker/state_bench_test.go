package worker

import (
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
)

// BenchmarkStateOfManyKeys puts batches of 100,000 keys, half of them known, into state.
func BenchmarkStateOfManyKeys(b *testing.B) {
	const n = 100_000
	f := &fake{rows: map[int][]int64{}}
	for s := range 16 {
		for i := range n {
			f.rows[s] = append(f.rows[s], int64(s*n/2+i)*7919)
		}
	}
	net := inproc.New(inproc.Options{})
	d, _ := net.Join("driver")
	node, _ := net.Join("worker")
	w := New(node, f, Options{})
	defer func() { w.Close(); node.Close(); d.Close() }()
	d.Send(b.Context(), "worker", transport.Deploy{Key: "p", Query: "q", Plan: distinct(), Parts: 1})
	id := batch.ID(0)
	for b.Loop() {
		for stage := range 2 {
			s := spec(id, stage, 0)
			s.Parts = 1
			if stage == 0 {
				s.Splits[0].Index = int(id % 16)
			}
			d.Send(b.Context(), "worker", transport.Run{Spec: s})
			if m, bad := (<-d.Inbox()).Message.(transport.Failed); bad {
				b.Fatal(m.Err)
			}
		}
		d.Send(b.Context(), "worker", transport.Prune{Key: "p", Oldest: id})
		id++
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mkeys/s")
}
