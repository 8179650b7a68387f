package formats

import (
	"path/filepath"
	"testing"
)

// TestAvroFiles holds that what is written as Avro is read again, also without declaring
// the columns, and as another implementation writes it.
func TestAvroFiles(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	for _, codec := range []string{"null", "deflate", "snappy", "zstandard"} {
		path := filepath.Join(dir, codec)
		b.tables = "CREATE TABLE x (" + columns + ") WITH ('connector'='filesystem', 'path'='" + path + "', 'format'='avro', 'avro.codec'='" + codec + "');\n"
		b.want("INSERT INTO x VALUES " + values)
		b.want("SELECT * FROM x WHERE ok IS NOT NULL ORDER BY id", shown...)
		b.tables = ""
		b.want("SELECT id, addr.city, tags[0] FROM read_files('"+path+"', format => 'avro') WHERE ok ORDER BY id", "1 Ulm a")
		b.want("CREATE TABLE y WITH ('connector'='filesystem', 'path'='"+path+"'); SELECT count(*), count(ok) FROM y", "3 2")
	}
	foreign, err := filepath.Abs("../../formats/avro/testdata/snappy.avro")
	if err != nil {
		t.Fatal(err)
	}
	b.tables = "CREATE TABLE f WITH ('connector'='filesystem', 'path'='" + foreign + "');\n"
	b.want("SELECT count(*), sum(price), max(at), count(name) FROM f", "1000 406125 2026-01-01T00:16:39Z 857")
}
