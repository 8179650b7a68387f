package parquet

import (
	"math"
	"testing"
)

func TestDistinctFromASample(t *testing.T) {
	for _, c := range []struct {
		name            string
		d, sample, rows float64
		sorted          bool
		want            float64
	}{
		{"few values are all seen", 7, 1000, 100_000, false, 7},
		{"all rows were looked at", 40, 100, 100, false, 40},
		{"a sorted column has others in each row group", 250, 1000, 100_000, true, 25_000},
		{"a key", 1000, 1000, 100_000, false, 100_000},
		{"half of the values are seen", 1000 * (1 - math.Exp(-1)), 1000, 100_000, false, 1000},
		{"no values", 0, 1000, 100_000, false, 0},
	} {
		if got := distinct(c.d, c.sample, c.rows, c.sorted); math.Abs(got-c.want) > 0.01*c.want {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

func TestADictionarysHeader(t *testing.T) {
	// PageHeader: type 2, 800 and 300 bytes, dictionary header of 100 values, plain.
	good := []byte{0x15, 0x04, 0x15, 0xc0, 0x0c, 0x15, 0xd8, 0x04, 0x4c, 0x15, 0xc8, 0x01, 0x15, 0x00, 0x00, 0x00}
	if values, plain, ok := dictionaryHeader(good); !ok || values != 100 || plain != 800 {
		t.Errorf("%d values of %d bytes, %v", values, plain, ok)
	}
	for n := range good[:11] { // cut off, it says nothing
		if _, _, ok := dictionaryHeader(good[:n]); ok {
			t.Errorf("%d bytes are read as a header", n)
		}
	}
}

func FuzzDictionaryHeader(f *testing.F) {
	f.Add([]byte{0x15, 0x04, 0x15, 0xc0, 0x0c, 0x15, 0xd8, 0x04, 0x4c, 0x15, 0xc8, 0x01, 0x15, 0x00, 0x00, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		if values, plain, ok := dictionaryHeader(b); ok && (values <= 0 || plain < 0) {
			t.Errorf("%d values of %d bytes", values, plain)
		}
	})
}
