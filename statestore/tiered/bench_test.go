package tiered

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// BenchmarkBatches counts rows of keys per second, in batches of several sizes over a
// million keys in memory, in this store and in package mem.
func BenchmarkBatches(b *testing.B) {
	const rows = 1 << 20
	for _, size := range []int{10, 10_000} {
		for _, which := range []string{"mem", "tiered"} {
			b.Run(fmt.Sprintf("%s/%d", which, size), func(b *testing.B) {
				var s statestore.Store
				var err error
				if which == "mem" {
					s, err = mem.Open(mem.Options{FS: vfsx.NewMem(), Dir: "state"})
				} else {
					s, err = Open(Options{FS: vfsx.NewMem(), Dir: "state"})
				}
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				sh := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
				keys := make([][]byte, size)
				for i := range keys {
					keys[i] = make([]byte, 10)
				}
				var value [8]byte
				id := batch.None
				step := func(from, stride uint64) {
					x, err := s.Begin(b.Context(), sh, id)
					if err != nil {
						b.Fatal(err)
					}
					for i := range keys {
						n := from + uint64(i)*stride
						keys[i][0] = byte(n >> 12)
						binary.BigEndian.PutUint64(keys[i][2:], n)
					}
					found := 0
					if err := x.Get(keys, func(int, []byte) error { found++; return nil }); err != nil {
						b.Fatal(err)
					}
					id++
					binary.BigEndian.PutUint64(value[:], uint64(id))
					for _, k := range keys {
						if err := x.Put(k, value[:]); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := x.Seal(b.Context()); err != nil {
						b.Fatal(err)
					}
					if err := s.Prune(b.Context(), sh, id); err != nil {
						b.Fatal(err)
					}
				}
				for n := uint64(0); n < rows; n += uint64(size) {
					step(n, 1)
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					step(uint64(i*7919)%(rows-100*uint64(size)), 97)
				}
				b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			})
		}
	}
}
