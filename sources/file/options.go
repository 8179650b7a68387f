package file

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

// Options of the source, besides those of the formats.
var (
	optPath      = options.Option{Key: "path", Kind: options.Text, Required: true, Doc: "A file, a directory, a pattern such as 'in/2013-*/*.parquet' or 'in/{a,b}.csv', or several of these with commas."}
	optFormat    = options.Option{Key: "format", Kind: options.Enum, Values: []string{"parquet", "csv", "json", "arrow", "avro", "text", "debezium-json"}, Doc: "The format of the files; by their extension if it is not set."}
	optMaxFiles  = options.Option{Key: "max-files-per-trigger", Kind: options.Int, Default: "0", Doc: "Files that one batch of a stream takes at most; 0 for no bound."}
	optMaxBytes  = options.Option{Key: "max-bytes-per-trigger", Kind: options.Bytes, Default: "0", Doc: "Bytes of files that one batch of a stream takes at most, but one file at least; 0 for no bound."}
	optRecursive = options.Option{Key: "recursive", Kind: options.Boolean, Default: "true", Doc: "Whether directories inside the directory are read too."}
	optPoll      = options.Option{Key: "poll-interval", Kind: options.Duration, Default: "1s", Doc: "How often a stream looks for new files where the system does not tell of them."}
	optMinAge    = options.Option{Key: "min-file-age", Kind: options.Duration, Default: "0s", Doc: "How long a file must not have changed before a stream takes it."}
	optChangelog = options.Option{Key: "changelog", Kind: options.Enum, Values: []string{"none", "retract", "upsert"}, Doc: "What the rows of the files tell: none, each is a row of the table; retract, rows are added and taken back whole; upsert, a row replaces the one before it with the same PRIMARY KEY. By default retract for 'format' = 'debezium-json' and where 'changelog.op-column' is set, else none."}
	optOpColumn  = options.Option{Key: "changelog.op-column", Kind: options.Text, Doc: "The field of CSV and JSON files that holds the kind of change (+I, -U, +U, -D; I, U, D; c, r, u, d; insert, update, delete). It is no column of the table; in CSV without a header it is the first field."}
	optParts     = options.Option{Key: "watermark.partition-column", Kind: options.Text, Doc: "A column that directories name (as in region=eu): the files of each of its values are a partition of the source, and the watermark waits for the slowest that is not idle. Where a directory is done with some day, such as one for each date, set 'watermark.idle-timeout'."}
	declared     = []options.Option{optPath, optFormat, optMaxFiles, optMaxBytes, optRecursive, optPoll, optMinAge, optChangelog, optOpColumn, optParts, formats.BadRows, formats.QuarantineTable}
)

// Connector returns the source over the formats it can read. logs is the file
// system of the checkpoint, where the file log lies.
func Connector(logs vfsx.FS, reg *formats.Registry) sources.Connector {
	return sources.Connector{
		Name: "filesystem", Doc: "Files of a directory, as a table or as a stream.", Options: append(declared[:len(declared):len(declared)], reg.Options()...),
		Infer: func(ctx context.Context, spec sources.Spec) (*arrow.Schema, error) {
			t, err := newTable(reg, spec)
			if err != nil {
				return nil, err
			}
			return t.infer(ctx)
		},
		New: func(ctx context.Context, spec sources.Spec) (sources.Source, error) {
			return open(ctx, logs, reg, spec)
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			t, err := newTable(reg, spec)
			if err != nil {
				return nil, err
			}
			return &opener{t: t}, nil
		},
		Changes: func(spec sources.Spec) (batch.Changes, error) {
			t, err := newTable(reg, spec)
			if err != nil {
				return batch.OnlyGrows, err
			}
			return t.changes, nil
		},
		Stats:     statsOf(reg, &statsCache{}),
		Rewinds:   true,
		Unbounded: func(spec sources.Spec) bool { return spec.Stream && !singleFile(spec.Options["path"]) },
	}
}

// singleFile reports whether a path names one file: a table that is read once per
// version, where a directory, a pattern or a path that is not there yet is a stream.
func singleFile(path string) bool {
	path = strings.TrimPrefix(path, "file://")
	if strings.ContainsAny(path, "*?[{") || len(splitPaths(path)) > 1 {
		return false
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return filepath.Ext(path) != "" // a file that is gone; a stream of it would be refused for another reason
	}
	return err == nil && info.Mode().IsRegular()
}

// table is what all halves know of where and how to read.
type table struct {
	spec   sources.Spec
	reg    *formats.Registry
	path   string
	config formats.Config
	deep   bool
	minAge time.Duration
	meta   map[int]string // key of each metadata column
	// changes says what the rows tell; opColumn is the field of the files that holds
	// the kind of change, "" where the format knows it, or each row is an upsert.
	changes  batch.Changes
	opColumn string
}

// The metadata keys.
const (
	metaPath = "file.path"
	metaName = "file.name"
	metaTime = "file.modification-time"
	metaSize = "file.size"
)

var metaTypes = map[string]arrow.DataType{
	metaPath: arrow.BinaryTypes.String, metaName: arrow.BinaryTypes.String, metaSize: arrow.PrimitiveTypes.Int64,
	metaTime: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
}

func newTable(reg *formats.Registry, spec sources.Spec) (*table, error) {
	o := spec.Options
	t := &table{spec: spec, reg: reg, deep: o.Bool(optRecursive), minAge: o.Duration(optMinAge), meta: map[int]string{}}
	p := strings.TrimPrefix(o.Get(optPath), "file://")
	if p == "" {
		return nil, t.userError("option 'path' is empty")
	}
	t.path = filepath.Clean(p)
	zone, err := time.LoadLocation(spec.Zone)
	if err != nil {
		return nil, t.userError("time zone %q: %v", spec.Zone, err)
	}
	t.config = formats.Config{Options: o, Zone: zone, Inferred: spec.Inferred || spec.Schema == nil}
	for _, m := range spec.Meta {
		want, ok := metaTypes[m.Key]
		f, err := reg.Lookup(o.Get(optFormat))
		if !ok && err == nil {
			want, ok = f.Meta[m.Key]
		}
		if !ok {
			keys := append([]string{metaPath, metaName, metaTime, metaSize}, slices.Sorted(maps.Keys(f.Meta))...)
			return nil, t.userError("METADATA FROM '%s' is unknown%s: want one of %s", m.Key, options.Suggest(m.Key, keys), strings.Join(keys, ", "))
		}
		if got := spec.Schema.Field(m.Column); !arrow.TypeEqual(got.Type, want) {
			return nil, t.userError("column %q: metadata '%s' is of type %s, not %s", got.Name, m.Key, want, got.Type)
		}
		t.meta[m.Column] = m.Key
	}
	return t, t.readChanges()
}

func (t *table) userError(format string, args ...any) error {
	return batch.UserErrorf("table %q: %s", t.spec.Table, fmt.Sprintf(format, args...))
}

// formatOf returns the format of a file.
func (t *table) formatOf(path string) (formats.Format, error) {
	if name := t.config.Options.Get(optFormat); name != "" {
		return t.reg.Lookup(name)
	}
	if f, ok := t.reg.ByExtension(path); ok {
		return f, nil
	}
	return formats.Format{}, t.userError("the name of file %q does not tell its format: set 'format' to one of %s", path, strings.Join(t.reg.Names(), ", "))
}
