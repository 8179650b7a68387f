package text

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestFind(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	f := NewFinder(',', '\n')
	for range 200000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = []byte{'a', ',', '\n', '"', '\\', 0x1f, 0x20, 0x80, 0xff, ',' + 1, '"' - 1, 0}[r.IntN(12)]
			if r.IntN(2) == 0 {
				b[i] = 'x'
			}
		}
		i := r.IntN(len(b) + 1)
		want := bytes.IndexAny(b[i:], ",\n")
		end := bytes.IndexFunc(b[i:], func(c rune) bool { return c == '"' || c == '\\' || c < 0x20 })
		at, ascii := FindStringEnd(b, i)
		if want := bytes.IndexFunc(b[i:at], func(c rune) bool { return c >= 0x80 }) < 0; ascii != want {
			t.Fatalf("%q from %d to %d is ASCII: %v, want %v", b, i, at, ascii, want)
		}
		for _, c := range []struct{ got, want int }{{f.Find(b, i), want}, {at, end}} {
			if c.want < 0 {
				c.want = len(b) - i
			}
			if c.got != i+c.want {
				t.Fatalf("%q from %d: %d, want %d", b, i, c.got, i+c.want)
			}
		}
	}
}

func TestSet(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	for range 200000 {
		var set [5]byte
		for i := range set {
			set[i] = byte(r.IntN([]int{30, 128, 256}[r.IntN(3)]))
		}
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(20 + r.IntN(236))
		}
		s := NewSet(set[0], set[1], set[2], set[3], set[4])
		want := false
		for _, c := range b {
			want = want || bytes.IndexByte(set[:], c) >= 0
		}
		if s.In(b) != want {
			t.Fatalf("%q in %q: %v, want %v", set, b, !want, want)
		}
	}
}
