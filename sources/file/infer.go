package file

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// Bounds of how many files are looked at for their columns: of formats that say
// what they hold, and of text, which is read for it. Of more files, so many are
// taken, evenly spread over the list, the first and the last among them. What the
// others have besides is left out, and what does not fit is an error that names them.
const (
	inferFooters = 4096
	inferTexts   = 16
	inferAtOnce  = 8
)

// infer returns the declared columns, or finds those of the files: by name over
// all of them, and of the key=value directories.
func (t *table) infer(ctx context.Context) (*arrow.Schema, error) {
	if t.spec.Schema != nil && t.spec.Schema.NumFields() > len(t.spec.Meta) {
		return t.spec.Schema, nil
	}
	once := *t
	once.spec.Stream = false // a table of files that cannot be a stream has columns too
	es, err := once.list(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	if len(es) == 0 {
		return nil, t.userError("there is no file at %q yet to take columns from: declare the table's columns", t.path)
	}
	fields, err := t.union(ctx, es)
	if err != nil {
		return nil, err
	}
	fields = t.partitionFields(fields, es)
	if t.spec.Schema != nil {
		// Metadata columns alone were declared. They stay in front: Spec.Meta has their places.
		fields = append(append([]arrow.Field{}, t.spec.Schema.Fields()...), fields...)
	}
	return arrow.NewSchema(fields, nil), nil
}

// union gathers the columns of the files.
func (t *table) union(ctx context.Context, es []entry) ([]arrow.Field, error) {
	es, plain, err := t.sample(es)
	if err != nil {
		return nil, err
	}
	found := make([]*arrow.Schema, len(es))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inferAtOnce)
	for i, e := range es {
		g.Go(func() error {
			format, err := t.formatOf(e.Path)
			if err == nil {
				found[i], err = t.inferFile(gctx, format, e)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	unite := formats.Unite
	if plain { // text holds whatever was written
		unite = func(a, b arrow.DataType) (arrow.DataType, string, bool) { return formats.MergeType(a, b), "", true }
	}
	u := formats.NewUnion(unite)
	for i, s := range found {
		if c := u.Add(es[i].Path, s.Fields()); c != nil {
			return nil, t.userError("column %q is %s in file %q and %s in file %q, and no type holds both: declare the table's columns, or make two tables",
				c.Column, c.A, c.First, c.B, c.Second)
		}
	}
	fields := slices.DeleteFunc(u.Fields(), func(f arrow.Field) bool { return t.opColumn != "" && strings.EqualFold(f.Name, t.opColumn) })
	for i := range fields {
		fields[i].Type = formats.Settle(fields[i].Type)
	}
	return fields, nil
}

// sample takes the files to look at. plain is true if all are text.
func (t *table) sample(es []entry) (_ []entry, plain bool, err error) {
	var footers, texts []entry
	for _, e := range es {
		format, err := t.formatOf(e.Path)
		if err != nil {
			return nil, false, err
		}
		switch {
		case !format.Plain:
			footers = append(footers, e)
		case e.Size > 0:
			texts = append(texts, e)
		}
	}
	out := append(spread(footers, inferFooters), spread(texts, inferTexts)...)
	if len(out) == 0 { // empty files: the format says what to do
		out = es[:1]
	}
	return out, len(footers) == 0, nil
}

// spread takes at most n of the files, the first and the last among them.
func spread(es []entry, n int) []entry {
	if len(es) <= n {
		return es
	}
	out := make([]entry, n)
	for i := range out {
		out[i] = es[i*(len(es)-1)/(n-1)]
	}
	return out
}

func (t *table) inferFile(ctx context.Context, format formats.Format, e entry) (s *arrow.Schema, err error) {
	f, err := openEntry(e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return format.Infer(ctx, asFile(f, e), t.config)
}

// partitionFields adds the columns that the directories name: INT, BIGINT,
// DATE or STRING, whichever holds the values of all files.
func (t *table) partitionFields(fields []arrow.Field, es []entry) []arrow.Field {
	var found []arrow.Field
	for _, e := range es {
		keys, values := t.partitionsOf(e.Path)
		for i, k := range keys {
			found = formats.MergeFields(found, []arrow.Field{{Name: k, Type: typeOfValue(values[i]), Nullable: true}})
		}
	}
	have := map[string]bool{}
	for _, f := range fields {
		have[f.Name] = true
	}
	for _, f := range found {
		if !have[f.Name] {
			f.Type = formats.Settle(f.Type)
			fields = append(fields, f)
		}
	}
	return fields
}

func typeOfValue(v string) arrow.DataType {
	if v == hiveNull {
		return arrow.Null
	}
	if n, err := text.ParseInt([]byte(v)); err == nil {
		if int64(int32(n)) == n {
			return arrow.PrimitiveTypes.Int32
		}
		return arrow.PrimitiveTypes.Int64
	}
	if _, err := text.ParseDate([]byte(v)); err == nil {
		return arrow.FixedWidthTypes.Date32
	}
	return arrow.BinaryTypes.String
}
