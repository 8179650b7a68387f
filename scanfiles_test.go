package sluice

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPartitionsArePruned: files of other partitions are never opened. One of them could not be read.
func TestPartitionsArePruned(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"day=2024-01-01/who=ann/a.csv": "v\n1\n2\n", "day=2024-01-02/who=ann/a.csv": "v\n3\n",
		"day=2024-01-02/who=" + "b%2Fc" + "/a.csv": "v\n4\n", "day=2024-01-03/who=__HIVE_DEFAULT_PARTITION__/a.csv": "v\n5\n",
		"day=2024-02-01/who=ann/broken.csv": "v\nno number\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := NewSession(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Exec(t.Context(), "CREATE TABLE t (v BIGINT, day DATE, who STRING) WITH ('connector'='filesystem', 'path'='"+dir+"', 'format'='csv', 'csv.header'='true')"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ where, rows, files string }{
		{"day = DATE '2024-01-02'", "3 4", "files 2 of 5"},
		{"day < DATE '2024-02-01' AND who = 'ann' AND v > 1", "2 3", "files 2 of 5"},
		{"who = 'b/c'", "4", "files 1 of 5"},
		{"who IS NULL", "5", "files 1 of 5"},
		{"day IN (DATE '2024-01-01', DATE '2024-01-03') OR who = 'b/c'", "1 2 4 5", "files 3 of 5"},
		{"day > DATE '2030-01-01'", "", "files 0 of 5"},
	} {
		got := strings.Join(firstColumn(t, s, "SELECT v FROM t WHERE "+c.where+" ORDER BY v"), " ")
		if got != c.rows {
			t.Errorf("%s: rows %q, want %q", c.where, got, c.rows)
		}
		if plan := strings.Join(firstColumn(t, s, "EXPLAIN SELECT v FROM t WHERE "+c.where), "\n"); !strings.Contains(plan, c.files) {
			t.Errorf("%s: want %q in\n%s", c.where, c.files, plan)
		}
	}
}

// firstColumn runs a query and prints its first column.
func firstColumn(t *testing.T, s *Session, text string) (out []string) {
	t.Helper()
	err := s.Run(t.Context(), text, func(r *Result) (err error) {
		defer func() { err = errors.Join(err, r.Rows.Close()) }()
		for {
			rec, err := r.Rows.Next(t.Context())
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			for i := range int(rec.NumRows()) {
				out = append(out, rec.Column(0).ValueStr(i))
			}
			rec.Release()
		}
	})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}
