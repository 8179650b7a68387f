package file

import (
	"context"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
)

// Options of the sink, besides those of the formats.
var (
	optPath       = options.Option{Key: "path", Kind: options.Text, Required: true, Doc: "The directory to write to; it is made if it is not there."}
	optFormat     = options.Option{Key: "format", Kind: options.Enum, Default: "parquet", Values: []string{"parquet", "csv", "json", "arrow", "avro", "text", "debezium-json"}, Doc: "The format of the files."}
	optOpColumn   = options.Option{Key: "changelog.op-column", Kind: options.Text, Doc: "The field of CSV and JSON files that takes the kind of change (+I, -U, +U, -D), in front of the others; with it the table takes output mode changelog."}
	optFileSize   = options.Option{Key: "sink.file-size", Kind: options.Bytes, Default: "128MiB", Doc: "Size at which a file ends and the next begins, in bytes."}
	optCompaction = options.Option{Key: "compaction", Kind: options.Boolean, Default: "false", Doc: "Whether small files of a partition are merged after a commit; a plain reader may miss their rows for a moment, and no stream may read the directory."}
	optMinFiles   = options.Option{Key: "compaction.min-files", Kind: options.Int, Default: "16", Doc: "Files smaller than half of 'sink.file-size' that a partition has to have before they are merged."}
)

var optOverwrite = options.Option{Key: "overwrite", Kind: options.Enum, Default: "table", Values: []string{"table", "partitions"}, Doc: "What INSERT OVERWRITE replaces: the whole table, or of a table with PARTITIONED BY those partitions that get rows."}

// Connector returns the sink over a file system and the formats it can write.
func Connector(fs vfsx.FS, reg *formats.Registry) sinks.Connector {
	declared := append([]options.Option{optPath, optFormat, optFileSize, optCompaction, optMinFiles, optOverwrite, optOpColumn}, reg.Options()...)
	return sinks.Connector{
		Name: "filesystem", Doc: "Files in a directory, exactly once.", Options: declared,
		Modes: []sinks.Mode{sinks.Append, sinks.Complete, sinks.Changelog},
		Check: func(spec sinks.Spec) error {
			_, err := newTarget(fs, reg, spec)
			return err
		},
		New: func(_ context.Context, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory, error) {
			t, err := newTarget(fs, reg, spec)
			if err != nil {
				return nil, nil, err
			}
			return &Sink{t: t}, &factory{t: t}, nil
		},
	}
}

// target is what sink and writers know of where they write to.
type target struct {
	fs          vfsx.FS
	spec        sinks.Spec
	dir         string
	mdir        string // manifests of this query
	sdir        string // staging of this query
	short       string // the query's part of a file's name
	format      formats.Format
	config      formats.Config
	ext         string
	fileSize    int64
	overwrite   bool // INSERT OVERWRITE: what others wrote is replaced too
	dynamic     bool // in the partitions alone that get rows
	compact     bool
	minFiles    int
	foldAt      int           // manifests of one size that are folded into one
	partitions  []int         // columns of the schema that make the directories
	fileColumns []int         // columns that go into the files
	fileSchema  *arrow.Schema // what the format writes
	opColumn    string        // the field of the files for the kind of change; "" for none
	envelope    bool          // the format writes changes
}

func newTarget(fs vfsx.FS, reg *formats.Registry, spec sinks.Spec) (*target, error) {
	fail := func(format string, args ...any) error {
		return batch.UserErrorf("table %q: %s", spec.Table, fmt.Sprintf(format, args...))
	}
	o := spec.Options
	t := &target{fs: fs, spec: spec, dir: filepath.Clean(strings.TrimPrefix(o.Get(optPath), "file://")), foldAt: foldAt, fileSize: max(1, o.Bytes(optFileSize)),
		compact: o.Bool(optCompaction), minFiles: int(max(2, o.Int(optMinFiles)))}
	if o.Get(optPath) == "" {
		return nil, fail("option 'path' is empty")
	}
	if spec.Query == "" {
		return nil, fmt.Errorf("table %q: a file sink without a query ID", spec.Table)
	}
	var err error
	if t.format, err = reg.Lookup(o.Get(optFormat)); err != nil {
		return nil, err
	}
	if err := t.takes(spec.Mode, o.Get(optOpColumn), fail); err != nil {
		return nil, err
	}
	t.overwrite = spec.Batch && spec.Mode == sinks.Complete
	t.dynamic = t.overwrite && o.Get(optOverwrite) == "partitions" && len(spec.PartitionBy) > 0
	if t.compact && spec.Mode == sinks.Complete {
		return nil, fail("option 'compaction' has no use in output mode complete")
	}
	zone, err := time.LoadLocation(spec.Zone)
	if err != nil {
		return nil, fail("time zone %q: %v", spec.Zone, err)
	}
	t.config = formats.Config{Options: o, Zone: zone}
	t.ext = t.format.Extensions[0]
	if t.format.Plain {
		t.ext += formats.Compression(o.Get(compressionOf(t.format))).Extension()
	}
	q := sanitize(string(spec.Query))
	t.mdir = fs.PathJoin(t.dir, manifest.Root, q, manifest.Manifests)
	t.sdir = fs.PathJoin(t.dir, manifest.Root, q, manifest.Staging)
	h := fnv.New64a()
	_, _ = h.Write([]byte(spec.Query)) // cannot fail
	if t.overwrite {
		t.mdir = fs.PathJoin(t.dir, manifest.Root, manifest.Overwriting, manifest.Manifests)
		t.sdir = fs.PathJoin(t.dir, manifest.Root, manifest.Overwriting, manifest.Staging)
	}
	t.short = fmt.Sprintf("%016x", h.Sum64())
	return t, t.columns(fail)
}

// compressionOf finds a text format's option that names its compression.
func compressionOf(f formats.Format) options.Option {
	for _, o := range f.Options {
		if o.Key == f.Name+".compression" {
			return o
		}
	}
	return options.Option{}
}

// columns divides the schema into those of the directories and those of the files.
func (t *target) columns(fail func(string, ...any) error) error {
	part := map[string]bool{}
	for _, name := range t.spec.PartitionBy {
		at := t.spec.Schema.FieldIndices(name)
		if len(at) != 1 {
			names := make([]string, t.spec.Schema.NumFields())
			for i, f := range t.spec.Schema.Fields() {
				names[i] = f.Name
			}
			return fail("PARTITIONED BY names the column %q, which it does not have%s", name, options.Suggest(name, names))
		}
		if dt := t.spec.Schema.Field(at[0]).Type; !text.Supported(dt) && dt.ID() != arrow.DICTIONARY {
			return fail("PARTITIONED BY column %q: values of type %s cannot name a directory", name, dt)
		}
		part[name] = true
		t.partitions = append(t.partitions, at[0])
	}
	var fields []arrow.Field
	for i, f := range t.spec.Schema.Fields() {
		if !part[f.Name] {
			t.fileColumns = append(t.fileColumns, i)
			fields = append(fields, f)
		}
	}
	if len(fields) == 0 {
		return fail("every column is in PARTITIONED BY, so that the files would have none")
	}
	t.fileSchema = arrow.NewSchema(t.changeFields(fields), nil)
	return nil
}

// sanitize makes a query ID a name of a folder.
func sanitize(q string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, q)
}
