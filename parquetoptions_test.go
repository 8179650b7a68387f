package sluice

import (
	"path/filepath"
	"testing"
)

func TestParquetIsWrittenAsTold(t *testing.T) {
	s, ctx := testTables(t), t.Context()
	for i, opts := range []map[string]string{{"compression": "gzip", "level": "9"}, {"compression": "zstd", "compression-level": "1", "dictionary": "false"}} {
		dir := filepath.Join(t.TempDir(), "out")
		w := s.Table("t").WriteFiles().Format("parquet").Options(map[string]string{"parquet.compression": opts["compression"], "parquet.compression-level": opts["compression-level"] + opts["level"]})
		w.Option("bloom-columns", "k, s").Option("page-index", "true")
		if v := opts["dictionary"]; v != "" {
			w.Option("dictionary", v)
		}
		if n, err := w.Save(ctx, dir); err != nil || n != 5 {
			t.Fatal(i, n, err)
		}
		same(t, "parquet", rowsOf(t, s.ReadFiles().Parquet(ctx, dir)), rowsOf(t, s.Table("t"))...)
	}
}

// TestTimestampUnits: what is written in each unit comes back, and what it cannot hold is an error.
func TestTimestampUnits(t *testing.T) {
	s, ctx := openSession(t, Options{}), t.Context()
	coarse := "SELECT * FROM VALUES (TIMESTAMP '2024-02-03 04:05:06.789'), (TIMESTAMP '1901-01-01 00:00:00.001'), (CAST(NULL AS TIMESTAMP)) AS v(t)"
	fine := "SELECT TIMESTAMP '2024-02-03 04:05:06.789123' AS t"
	far := "SELECT TIMESTAMP '3024-02-03 04:05:06' AS t"
	for unit, refused := range map[string]string{"micros": "", "millis": fine, "nanos": far, "int96": ""} {
		for _, q := range []string{coarse, fine, far} {
			d, err := s.SQL(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "out")
			_, err = d.WriteFiles().Format("parquet").Option("timestamp-unit", unit).Save(ctx, dir)
			if q == refused {
				wantError(t, err, "Parquet")
				continue
			}
			if err != nil {
				t.Fatal(unit, q, err)
			}
			same(t, unit, rowsOf(t, s.ReadFiles().Parquet(ctx, dir)), rowsOf(t, d)...)
		}
	}
}
