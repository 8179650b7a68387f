package sluice_test

import (
	"errors"
	"io"
	"testing"

	"github.com/sluice-stream/sluice"
)

// TestReaderWaits holds that the rows of one large task come while it runs, in
// bounded memory, and that a reader that nobody reads holds no other query up.
func TestReaderWaits(t *testing.T) {
	s, err := sluice.NewSession(sluice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Exec(t.Context(), "SET memory_limit = '64MB'"); err != nil {
		t.Fatal(err)
	}
	var readers []sluice.Reader
	const far = "SELECT id FROM range(1000000000)"
	for range 20 { // more than there are slots
		d, err := s.SQL(t.Context(), far)
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
		rec, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if rec.NumRows() == 0 {
			t.Error("the first batch is empty")
		}
		rec.Release()
	}
	d, err := s.SQL(t.Context(), "SELECT count(*) n FROM range(1000)")
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := d.Collect(t.Context()); err != nil || len(rows) != 1 {
		t.Errorf("beside them a query gives %v, %v", rows, err)
	}
	for _, r := range readers {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	// What fails after more rows than are kept for a slow reader does so when they have been read.
	d, err = s.SQL(t.Context(), "SELECT 1 / (30000000 - id) x FROM range(31000000)")
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := int64(0)
	for {
		rec, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			t.Fatalf("a division by zero gave %d rows and no error", rows)
		}
		if err != nil {
			break
		}
		rows += rec.NumRows()
		rec.Release()
	}
	if rows == 0 || rows > 30000000 {
		t.Errorf("%d rows came before the error", rows)
	}
}
