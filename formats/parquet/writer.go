package parquet

import (
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

var (
	compression = options.Option{Key: "parquet.compression", Kind: options.Enum, Default: "zstd",
		Values: []string{"zstd", "snappy", "gzip", "none"}, Doc: "How pages are compressed when a file is written."}
	rowGroupRows = options.Option{Key: "parquet.row-group-rows", Kind: options.Int, Default: "1048576",
		Doc: "Rows of a row group at most when a file is written; a row group ends before at 128 MiB."}
	level = options.Option{Key: "parquet.compression-level", Kind: options.Int,
		Doc: "Level of zstd or gzip when a file is written; the codec's own if it is not set."}
	dictionary = options.Option{Key: "parquet.dictionary", Kind: options.Boolean, Default: "true",
		Doc: "Whether columns with few different values are written as dictionaries."}
	pageIndex = options.Option{Key: "parquet.page-index", Kind: options.Boolean, Default: "true",
		Doc: "Whether written files tell the least and greatest value of each page."}
	bloomColumns = options.Option{Key: "parquet.bloom-columns", Kind: options.Text,
		Doc: "Columns, with commas, that written files have Bloom filters for."}
	timeUnit = options.Option{Key: "parquet.timestamp-unit", Kind: options.Enum, Default: "micros", Values: []string{"micros", "millis", "nanos", "int96"},
		Doc: "How timestamps are written; one that would lose digits or does not fit is an error. int96 is for old Hive, Impala and Spark."}
	missingColumns = options.Option{Key: "parquet.missing-columns", Kind: options.Enum, Default: "fail",
		Values: []string{"fail", "null"}, Doc: "What a declared column reads as that a file does not have."}
	declared = []options.Option{compression, rowGroupRows, level, dictionary, pageIndex, bloomColumns, timeUnit, missingColumns}
)

const rowGroupBytes = 128 << 20

var codecs = map[string]compress.Compression{
	"zstd": compress.Codecs.Zstd, "snappy": compress.Codecs.Snappy, "gzip": compress.Codecs.Gzip, "none": compress.Codecs.Uncompressed,
}

// writer writes one file. The row group in hand is in memory, compressed.
type writer struct {
	out    *formats.Counter
	schema *arrow.Schema
	w      *pqarrow.FileWriter
	rows   int64 // of the row group in hand
	most   int64
}

func newWriter(w io.Writer, schema *arrow.Schema, c formats.Config, alloc memory.Allocator) (_ formats.Writer, err error) {
	defer catchWrite(&err)
	for _, f := range schema.Fields() {
		switch f.Type.ID() {
		case arrow.DURATION, arrow.INTERVAL_MONTHS:
			return nil, batch.UserErrorf("column %q: Parquet has no type for intervals: cast it to a number or a string", f.Name)
		}
	}
	most := max(1, c.Options.Int(rowGroupRows))
	base := []apq.WriterProperty{apq.WithAllocator(alloc), apq.WithCompression(codecs[c.Options.Get(compression)]),
		apq.WithMaxRowGroupLength(most), apq.WithStats(true), apq.WithVersion(apq.V2_LATEST), apq.WithCreatedBy("sluice"), apq.WithDictionaryDefault(c.Options.Bool(dictionary)), apq.WithPageIndexEnabled(c.Options.Bool(pageIndex))}
	for name := range strings.SplitSeq(c.Options.Get(bloomColumns), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if len(schema.FieldIndices(name)) != 1 {
			return nil, batch.UserErrorf("option 'parquet.bloom-columns': there is no column %q in the files", name)
		}
		base = append(base, apq.WithBloomFilterEnabledFor(name, true))
	}
	props := apq.NewWriterProperties(base...)
	if c.Options.Get(level) != "" {
		props = apq.NewWriterProperties(append(base, apq.WithCompressionLevel(int(c.Options.Int(level))))...)
	}
	out := &formats.Counter{W: w}
	arrowProps := []pqarrow.WriterOption{pqarrow.WithAllocator(alloc)}
	switch c.Options.Get(timeUnit) {
	case "millis":
		arrowProps = append(arrowProps, pqarrow.WithCoerceTimestamps(arrow.Millisecond))
	case "nanos":
		arrowProps = append(arrowProps, pqarrow.WithCoerceTimestamps(arrow.Nanosecond))
	case "int96":
		arrowProps = append(arrowProps, pqarrow.WithDeprecatedInt96Timestamps(true))
	}
	fw, err := pqarrow.NewFileWriter(schema, out, props, pqarrow.NewArrowWriterProperties(arrowProps...))
	if err != nil {
		return nil, fmt.Errorf("start a Parquet file: %w", err)
	}
	return &writer{out: out, schema: schema, w: fw, most: most}, nil
}

// Write adds rows to the row group in hand.
func (w *writer) Write(rec arrow.RecordBatch) (err error) {
	defer catchWrite(&err)
	for at := int64(0); at < rec.NumRows(); {
		if w.full() {
			if err := w.w.NewBufferedRowGroupChecked(); err != nil {
				return fmt.Errorf("end a row group: %w", err)
			}
			w.rows = 0
		}
		n := min(rec.NumRows()-at, w.most-w.rows)
		part := rec.NewSlice(at, at+n)
		err := w.write(part)
		part.Release()
		if err != nil {
			return fmt.Errorf("write %d rows to a Parquet file: %w", n, err)
		}
		at += n
		w.rows += n
	}
	return nil
}

func (w *writer) full() bool {
	return w.rows >= w.most || w.rows > 0 && w.w.RowGroupTotalCompressedBytes() >= rowGroupBytes
}

// write hands the columns over under the file's own schema: names of fields
// inside lists, nullability and metadata of the batch may differ from it.
func (w *writer) write(part arrow.RecordBatch) error {
	if int(part.NumCols()) != w.schema.NumFields() {
		return fmt.Errorf("a batch of %d columns for a file of %d", part.NumCols(), w.schema.NumFields())
	}
	same := array.NewRecordBatch(w.schema, part.Columns(), part.NumRows())
	defer same.Release()
	return w.w.WriteBuffered(same)
}

// Size is what was written and what the row group in hand holds.
func (w *writer) Size() int64 { return w.out.N + w.w.RowGroupTotalCompressedBytes() }

// Close ends the row group and writes the footer.
func (w *writer) Close() (err error) {
	defer catchWrite(&err)
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("end a Parquet file: %w", err)
	}
	return nil
}

// catchWrite turns a panic of the library into an error: it panics on a full disk.
func catchWrite(err *error) {
	if r := recover(); r != nil {
		if e, ok := r.(error); ok {
			*err = fmt.Errorf("write a Parquet file: %w", e)
			return
		}
		*err = fmt.Errorf("write a Parquet file: %v%s", r, where())
	}
}
