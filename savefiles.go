package sluice

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sql"
)

// SaveMode says what Save does where there are files already.
type SaveMode string

// The save modes.
const (
	ErrorIfExists SaveMode = "error"     // a fault; the default
	AppendFiles   SaveMode = "append"    // the new rows come beside them
	Overwrite     SaveMode = "overwrite" // the new rows come in their place, in one step
	Ignore        SaveMode = "ignore"    // nothing
)

// FileWriter says how rows are written to files. Its methods change it and return
// it; Save runs the query.
type FileWriter struct {
	d    *DataFrame
	opts map[string]string
	mode SaveMode
	by   []string
}

// WriteFiles starts a writer of files: d.WriteFiles().Format("csv").Mode(sluice.Overwrite).Save(ctx, "out").
func (d *DataFrame) WriteFiles() *FileWriter {
	return &FileWriter{d: d, opts: map[string]string{}, mode: ErrorIfExists}
}

// Format is parquet (the default), csv, json, arrow or text.
func (w *FileWriter) Format(name string) *FileWriter { w.opts["format"] = name; return w }

// Option sets an option of the filesystem sink or of the format, see FileReader.Option.
func (w *FileWriter) Option(key, value string) *FileWriter { w.opts[key] = value; return w }

// Options sets several.
func (w *FileWriter) Options(opts map[string]string) *FileWriter { maps.Copy(w.opts, opts); return w }

// Mode says what happens where there are files already.
func (w *FileWriter) Mode(m SaveMode) *FileWriter { w.mode = m; return w }

// PartitionBy puts the rows with each value of the columns into directories of their
// own, named column=value; the files do not hold the columns again.
func (w *FileWriter) PartitionBy(columns ...string) *FileWriter { w.by = columns; return w }

// Parquet is Format("parquet").Save.
func (w *FileWriter) Parquet(ctx context.Context, dir string) (int64, error) {
	return w.Format("parquet").Save(ctx, dir)
}

// CSV is Format("csv").Save.
func (w *FileWriter) CSV(ctx context.Context, dir string) (int64, error) {
	return w.Format("csv").Save(ctx, dir)
}

// JSON is Format("json").Save.
func (w *FileWriter) JSON(ctx context.Context, dir string) (int64, error) {
	return w.Format("json").Save(ctx, dir)
}

// Arrow is Format("arrow").Save.
func (w *FileWriter) Arrow(ctx context.Context, dir string) (int64, error) {
	return w.Format("arrow").Save(ctx, dir)
}

// Save runs the query, writes its rows into a directory and returns their number.
func (w *FileWriter) Save(ctx context.Context, dir string) (int64, error) {
	n, err := w.d.bound()
	if err != nil {
		return 0, err
	}
	mode := sinks.Append
	switch w.mode {
	case ErrorIfExists, Ignore:
		there, err := hasFiles(dir)
		if err != nil {
			return 0, err
		}
		if there && w.mode == Ignore {
			return 0, nil
		}
		if there {
			return 0, batch.UserErrorf("save to %q: there are files; use the mode AppendFiles or Overwrite", dir)
		}
	case AppendFiles:
	case Overwrite:
		mode = sinks.Complete
	default:
		return 0, batch.UserErrorf("save mode %q: want error, append, overwrite or ignore", w.mode)
	}
	s := w.d.s
	def := &sql.TableDef{Name: "files", Connector: "filesystem", Options: s.fileOptions(w.opts), Partition: w.by}
	def.Options["path"] = dir
	def.Complete(n.Schema())
	if err := s.checkOptions(def); err != nil {
		return 0, refused(err)
	}
	return s.insertBatch(ctx, insertDef{node: n, table: def}, mode)
}

// hasFiles says whether a directory holds anything that a reader would see.
func hasFiles(dir string) (bool, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	for _, n := range names {
		if !strings.HasPrefix(n.Name(), "_") && !strings.HasPrefix(n.Name(), ".") {
			return true, nil
		}
	}
	return false, err
}
