package executor

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestKeySorter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	var s keySorter
	for range 200 {
		keys := make([][]byte, r.IntN(3000))
		start := bytes.Repeat([]byte{7}, r.IntN(20))
		for i := range keys {
			k := slices.Clone(start[:len(start)-min(len(start), r.IntN(2))])
			for range r.IntN(14) {
				k = append(k, byte(r.IntN(3)))
			}
			keys[i] = k
		}
		want := make([]int32, len(keys))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortStableFunc(want, func(a, b int32) int { return bytes.Compare(keys[a], keys[b]) })
		got := s.order(len(keys), func(i int32) []byte { return keys[i] })
		for i := range want {
			if got[i].i != want[i] {
				t.Fatalf("place %d of %d: key %x, want %x", i, len(keys), keys[got[i].i], keys[want[i]])
			}
		}
	}
}
