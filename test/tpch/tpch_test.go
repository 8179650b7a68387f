// Package tpch runs the 22 queries of TPC-H beside DuckDB.
package tpch

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

//go:embed queries.sql
var queries string

//go:embed data.sql
var data string

var tables = []string{"customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQueriesEqualDuckDB(t *testing.T) {
	ctx := t.Context()
	db := duckdb.Start(t)
	dir := t.TempDir()
	for _, stmt := range split(data) {
		if err := db.Exec(ctx, stmt); err != nil {
			t.Fatalf("%v\n%s", err, stmt)
		}
	}
	// The second session plans as for large tables: both sides of joins are spread by
	// key, and one is cut down to the keys of the other wherever that can be done.
	s := open(t, map[string]string{"parallelism": "2"})
	large := open(t, map[string]string{"parallelism": "3", "planner.broadcast-bytes": "1", "planner.reduce-rows": "1"})
	for _, name := range tables {
		path := filepath.Join(dir, name+".parquet")
		if err := db.Exec(ctx, fmt.Sprintf("COPY %s TO '%s' (FORMAT parquet)", name, path)); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*sluice.Session{s, large} {
			if err := s.Exec(ctx, fmt.Sprintf("CREATE TABLE %s WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet')", name, path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := split(queries)
	if len(all) != 22 {
		t.Fatalf("%d queries", len(all))
	}
	for _, text := range all {
		title, sql, _ := strings.Cut(text, "\n")
		t.Run(strings.TrimPrefix(title, "-- "), func(t *testing.T) {
			_, want, err := db.Query(ctx, sql)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rowsOf(ctx, s, sql)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, want)
			if got, err = rowsOf(ctx, large, sql); err != nil {
				t.Fatal(err)
			}
			compare(t, got, want)
		})
	}
}

func open(t *testing.T, settings map[string]string) *sluice.Session {
	t.Helper()
	s, err := sluice.NewSession(sluice.Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// split cuts a script at the semicolons that end its lines.
func split(script string) []string {
	var out []string
	for _, s := range strings.Split(script, ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
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

func compare(t *testing.T, got, want [][]string) {
	t.Helper()
	if len(want) == 0 || want[0][0] == "NULL" {
		t.Error("the data has no row for this query, which proves nothing")
	}
	if len(got) != len(want) {
		t.Fatalf("got %d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if len(got[i]) != len(want[i]) {
			t.Fatalf("got %d columns, want %d", len(got[i]), len(want[i]))
		}
		for c := range want[i] {
			if !equal(got[i][c], want[i][c]) {
				t.Fatalf("row %d column %d: got %q, want %q", i+1, c+1, got[i], want[i])
			}
		}
	}
}

// equal compares two values. A mean or quotient of decimals is a decimal here
// and a DOUBLE in DuckDB, so that the digits printed have to be right.
func equal(got, want string) bool {
	if got == want {
		return true
	}
	g, err1 := strconv.ParseFloat(got, 64)
	w, err2 := strconv.ParseFloat(want, 64)
	tolerance := 1e-9 * math.Max(1, math.Abs(w))
	if _, fraction, ok := strings.Cut(got, "."); ok && len(fraction) >= 6 {
		tolerance = math.Max(tolerance, 0.51*math.Pow10(-len(fraction)))
	}
	return err1 == nil && err2 == nil && math.Abs(g-w) <= tolerance
}
