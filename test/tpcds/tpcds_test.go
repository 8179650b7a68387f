// Package tpcds runs the 99 queries of TPC-DS and compares their rows with DuckDB's.
package tpcds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestQueriesEqualDuckDB needs what `make tpcds` prepares, in the folder that
// SLUICE_TPCDS names.
func TestQueriesEqualDuckDB(t *testing.T) {
	dir := os.Getenv("SLUICE_TPCDS")
	if dir == "" {
		t.Skip("SLUICE_TPCDS is not set; make tpcds does it")
	}
	s, err := sluice.NewSession(sluice.Options{Settings: map[string]string{"parallelism": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	tables, err := filepath.Glob(filepath.Join(dir, "data", "*.parquet"))
	if err != nil || len(tables) != 24 {
		t.Fatalf("%d tables in %s: %v", len(tables), dir, err)
	}
	for _, path := range tables {
		name := strings.TrimSuffix(filepath.Base(path), ".parquet")
		ddl := fmt.Sprintf("CREATE TABLE %s WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet')", name, path)
		if err := s.Exec(t.Context(), ddl); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil || len(files) < 99 {
		t.Fatalf("%d queries in %s: %v", len(files), dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sql"), func(t *testing.T) { runQuery(t, s, file) })
	}
}

func runQuery(t *testing.T, s *sluice.Session, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := os.ReadFile(strings.TrimSuffix(file, ".sql") + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]*string
	if err := json.Unmarshal(answer, &rows); err != nil {
		t.Fatal(err)
	}
	want := make([][]string, len(rows))
	for i, row := range rows {
		for _, v := range row {
			if v == nil {
				want[i] = append(want[i], "NULL")
			} else {
				want[i] = append(want[i], *v)
			}
		}
	}
	got, err := rowsOf(t.Context(), s, string(text))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got, want)
}

func rowsOf(ctx context.Context, s *sluice.Session, sql string) (rows [][]string, err error) {
	f, err := render.New("UTC")
	if err != nil {
		return nil, err
	}
	err = s.Run(ctx, sql, func(r *sluice.Result) (err error) {
		defer func() { err = errors.Join(err, r.Rows.Close()) }()
		for {
			rec, err := r.Rows.Next(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			for i := range int(rec.NumRows()) {
				row := make([]string, rec.NumCols())
				for c, col := range rec.Columns() {
					if row[c] = "NULL"; !col.IsNull(i) {
						row[c] = string(f.AppendText(nil, col, i))
					}
				}
				rows = append(rows, row)
			}
			rec.Release()
		}
	})
	return rows, err
}

// compare sorts both sides by what tells rows apart in either, numbers by few
// digits, and compares them row by row.
func compare(t *testing.T, got, want [][]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d rows, want %d", len(got), len(want))
	}
	for _, rows := range [][][]string{got, want} {
		slices.SortFunc(rows, func(a, b []string) int { return slices.Compare(rounded(a), rounded(b)) })
	}
	for i := range want {
		if !slices.EqualFunc(got[i], want[i], equal) {
			t.Fatalf("row %d of %d: got %q, want %q", i+1, len(want), got[i], want[i])
		}
	}
}

func rounded(row []string) []string {
	out := slices.Clone(row)
	for i, v := range row {
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			out[i] = strconv.FormatFloat(f, 'e', 3, 64)
		}
	}
	return out
}

func equal(got, want string) bool {
	if got == want {
		return true
	}
	g, err1 := strconv.ParseFloat(got, 64)
	w, err2 := strconv.ParseFloat(want, 64)
	return err1 == nil && err2 == nil && math.Abs(g-w) <= 1e-5*math.Max(1, math.Abs(w))
}
