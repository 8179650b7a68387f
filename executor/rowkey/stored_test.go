package rowkey_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sluice-stream/sluice/executor/rowkey"
)

func listed(t *testing.T, stored []byte) (out []string) {
	t.Helper()
	err := rowkey.EachStored(stored, func(count int64, row []byte) error {
		out = append(out, fmt.Sprintf("%dx%s", count, row))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The bytes of both forms are durable.
func TestStoredRows(t *testing.T) {
	alone := []byte("\x02ab")
	if got := listed(t, alone); !slices.Equal(got, []string{"2xab"}) {
		t.Errorf("a row by itself: %q", got)
	}
	together := rowkey.AppendTogether(rowkey.AppendTogether(nil, 1, []byte("xyz")), 300, nil)
	if want := []byte("\x00\x01\x03xyz\xac\x02\x00"); !bytes.Equal(together, want) {
		t.Errorf("stored together: %q, want %q", together, want)
	}
	if got := listed(t, together); !slices.Equal(got, []string{"1xxyz", "300x"}) {
		t.Errorf("stored together: %q", got)
	}
	for _, c := range []struct {
		stored []byte
		want   []string
	}{
		{alone, []string{"2xab", "1xxyz", "300x"}},
		{together, []string{"1xxyz", "300x", "1xxyz", "300x"}},
	} {
		joined, err := rowkey.JoinTogether(nil, c.stored, together)
		if err != nil {
			t.Fatal(err)
		}
		if got := listed(t, joined); !slices.Equal(got, c.want) {
			t.Errorf("%q joined: %q, want %q", c.stored, got, c.want)
		}
	}
}

func TestStoredRowsRefuseDamage(t *testing.T) {
	for _, stored := range []string{
		"", "\x00", "\x00\x00", "\x00\x01", "\x00\x01\x04xyz", "\x00\x01\x03xyz\x01", "\x80", "\xff\xff\xff\xff\xff\xff\x01a", "\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	} {
		err := rowkey.EachStored([]byte(stored), func(int64, []byte) error { return nil })
		if !errors.Is(err, rowkey.ErrDamaged) {
			t.Errorf("%q: %v, want damage", stored, err)
		}
	}
	if _, err := rowkey.JoinTogether(nil, nil, rowkey.AppendTogether(nil, 1, nil)); !errors.Is(err, rowkey.ErrDamaged) {
		t.Errorf("joined to nothing: %v, want damage", err)
	}
}
