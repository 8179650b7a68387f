package vfsx

import (
	"slices"
	"testing"
)

func TestNumbered(t *testing.T) {
	const logs Numbered = ".log"
	fs := NewMem()
	names := []string{logs.Name(10), logs.Name(2), logs.Name(123456789), "1.log", "00000003.log.tmp", "+0000004.log", "0000000x.log", "000000005.log", "00000006"}
	for _, name := range names {
		if err := WriteFileAtomic(fs, name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := logs.List(fs, "")
	if want := []uint64{2, 10, 123456789}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := logs.List(fs, "nowhere"); err == nil {
		t.Error("a folder that is not there was listed")
	}
}
