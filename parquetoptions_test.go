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
