package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/formats/parquet"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var registry = formats.NewRegistry(parquet.New(), csv.New(), json.New())

var (
	ctx = context.Background()
	ts  = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
)

// put writes a file with a fixed time of change: base plus age seconds.
func put(t testing.TB, path, text string, age int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000+int64(age), 0)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func spec(path string, stream bool, dir string, extra options.Map) sources.Spec {
	o := options.Map{"path": path, "poll-interval": "1h"}
	for k, v := range extra {
		o[k] = v
	}
	return sources.Spec{Name: "t#0", Table: "t", Options: o, Stream: stream, Dir: dir,
		Schema: arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)}
}

func open1(t testing.TB, fs vfsx.FS, sp sources.Spec) sources.Source {
	t.Helper()
	s, err := Connector(fs, registry).New(ctx, sp)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rows reads a range as text, rows divided by blanks and columns by bars.
func rows(t testing.TB, s sources.Source, sp sources.Spec, r batch.Range, columns []int) (string, error) {
	t.Helper()
	splits, err := s.Plan(ctx, r)
	if err != nil {
		return "", err
	}
	if sp.Schema == nil {
		sp.Schema = s.Schema()
	}
	o, err := Connector(nil, registry).NewOpener(sp)
	if err != nil {
		t.Fatal(err)
	}
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	var out []string
	for _, split := range splits {
		r, err := o.Open(ctx, split, columns, alloc)
		if err != nil {
			return "", err
		}
		for {
			rec, err := r.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return "", errors.Join(err, r.Close())
			}
			for i := range int(rec.NumRows()) {
				var cols []string
				for c := range int(rec.NumCols()) {
					cols = append(cols, rec.Column(c).ValueStr(i))
				}
				out = append(out, strings.Join(cols, "|"))
			}
			rec.Release()
		}
		if err := r.Close(); err != nil {
			return "", err
		}
	}
	return strings.Join(out, " "), nil
}

func TestTable(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/day=2024-01-01/x%2Fy=1/b.csv", "a,b\n1,x\n", 2)
	put(t, dir+"/day=2024-01-02/x%2Fy=__HIVE_DEFAULT_PARTITION__/a.csv", "b,a\ny,2\n", 1)
	put(t, dir+"/_tmp/c.csv", "half", 0)
	put(t, dir+"/.hidden.csv", "half", 0)
	sp := spec(dir, false, "", nil)
	sp.Schema = arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.BinaryTypes.String}, {Name: "m", Type: ts}, {Name: "s", Type: arrow.PrimitiveTypes.Int64}}, nil)
	sp.Meta = []sources.MetaColumn{{Column: 0, Key: metaName}, {Column: 1, Key: metaTime}, {Column: 2, Key: metaSize}}
	s := open1(t, nil, sp)
	schema, err := Connector(nil, registry).Infer(ctx, sp)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range schema.Fields() {
		names = append(names, f.Name+" "+f.Type.String())
	}
	if got, want := strings.Join(names, ", "), "n utf8, m timestamp[us, tz=UTC], s int64, b utf8, a int32, day date32, x/y int32"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	sp.Schema = schema
	end, err := s.Latest(ctx, "", sources.Limit{})
	if err != nil || !s.(sources.Bounded).Ended(end) {
		t.Fatal(end, err)
	}
	pin, err := s.(sources.Pinner).Pin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/day=2024-01-03/late.csv", "a,b\n9,z\n", 3) // after the pin: not of this version
	for range 2 {
		got, err := rows(t, s, sp, batch.Range{Source: "t#0", End: end, Pin: pin}, nil)
		want := "a.csv|2023-11-14T22:13:21Z|8|y|2|2024-01-02|(null) b.csv|2023-11-14T22:13:22Z|8|x|1|2024-01-01|1"
		if err != nil || got != want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
		}
	}
	got, err := rows(t, s, sp, batch.Range{Pin: pin}, []int{6, 4})
	if err != nil || got != "(null)|2 1|1" {
		t.Errorf("projection: %s %v", got, err)
	}
}

// drain runs batches until nothing comes and returns what each one read.
func drain(t testing.TB, s sources.Source, sp sources.Spec, from *batch.Offset) []string {
	t.Helper()
	var out []string
	for {
		end, err := s.Latest(ctx, *from, sources.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		if end == *from {
			return out
		}
		got, err := rows(t, s, sp, batch.Range{Start: *from, End: end}, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, got)
		*from = end
	}
}

func TestStreamAndRestart(t *testing.T) {
	in, ck := t.TempDir(), t.TempDir()
	put(t, in+"/z.json", `{"a":1}`, 0)
	put(t, in+"/b.json", `{"a":3}`, 1)
	put(t, in+"/a.json", `{"a":2}`, 1)
	put(t, in+"/sub/c.json", `{"a":4}`, 2)
	sp := spec(in, true, ck, options.Map{"max-files-per-trigger": "2"})
	s := open1(t, vfsx.Default, sp)
	var at batch.Offset
	if got := fmt.Sprint(drain(t, s, sp, &at)); got != "[1 2 3 4]" || at != "4" {
		t.Fatalf("%s at %s", got, at)
	}
	put(t, in+"/old.json", `{"a":5}`, -100) // older than all that was read, and new
	end, err := s.Latest(ctx, at, sources.Limit{})
	if err != nil || end != "5" {
		t.Fatal(end, err)
	}
	// The driver dies before it has planned [4,5): the log has the file, and it is read once.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, in+"/new.json", `{"a":6}`, -200)
	s = open1(t, vfsx.Default, sp)
	defer s.Close()
	if got := fmt.Sprint(drain(t, s, sp, &at)); got != "[5 6]" {
		t.Fatalf("after the restart: %s", got)
	}
	// Ranges can be planned again until they are released.
	if got, err := rows(t, s, sp, batch.Range{Start: "1", End: "5"}, nil); err != nil || got != "2 3 4 5" {
		t.Fatal(got, err)
	}
	if err := s.Release(ctx, "5"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Plan(ctx, batch.Range{Start: "1", End: "5"}); err == nil {
		t.Error("a released range was planned")
	}
	if _, err := s.Plan(ctx, batch.Range{Start: "5", End: "99"}); err == nil || !strings.Contains(err.Error(), "damaged, or of another checkpoint") {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	in := t.TempDir()
	for i := range 6 {
		put(t, fmt.Sprintf("%s/%d.json", in, i), fmt.Sprintf(`{"a":%d}`, i)+strings.Repeat(" ", 93), i) // 100 bytes
	}
	for _, c := range []struct {
		opts  options.Map
		limit sources.Limit
		want  string
	}{
		{options.Map{"max-bytes-per-trigger": "250"}, sources.Limit{}, "[0 1 2 3 4 5]"},
		{options.Map{"max-bytes-per-trigger": "10"}, sources.Limit{}, "[0 1 2 3 4 5]"},
		{nil, sources.Limit{Files: 4}, "[0 1 2 3 4 5]"},
		{nil, sources.Limit{}, "[0 1 2 3 4 5]"},
	} {
		sp := spec(in, true, t.TempDir(), c.opts)
		s := open1(t, vfsx.Default, sp)
		end, err := s.Latest(ctx, "", c.limit)
		want := map[string]string{"250": "2", "10": "1", "": "6"}[c.opts["max-bytes-per-trigger"]]
		if c.limit.Files > 0 {
			want = "4"
		}
		if err != nil || string(end) != want {
			t.Errorf("%v: %s %v, want %s", c.opts, end, err, want)
		}
		_ = s.Close()
	}
}

func TestErrors(t *testing.T) {
	in := t.TempDir()
	put(t, in+"/a.json", `{"a":1}`, 0)
	sp := spec(in, true, t.TempDir(), nil)
	s := open1(t, vfsx.Default, sp)
	defer s.Close()
	end, err := s.Latest(ctx, "", sources.Limit{})
	if err != nil {
		t.Fatal(err)
	}
	wantErr := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		} else if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("kind of %v", err)
		}
	}
	put(t, in+"/a.json", `{"a":12}`, 0)
	_, err = rows(t, s, sp, batch.Range{End: end}, nil)
	wantErr(err, `a.json" was changed after it was listed: it had 7 bytes`)
	_, err = s.Latest(ctx, end, sources.Limit{})
	wantErr(err, `a.json" was changed after it was taken`)
	if err := os.Remove(in + "/a.json"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Plan(ctx, batch.Range{End: end})
	wantErr(err, `a.json" is gone, and was not read yet`)

	for _, stream := range []bool{false, true} {
		sp := spec(in+"/nope", stream, t.TempDir(), nil)
		s, err := Connector(vfsx.Default, registry).New(ctx, sp)
		if err == nil {
			_, err = s.(sources.Pinner).Pin(ctx)
		}
		wantErr(err, `nope" does not exist`)
	}
	put(t, in+"/x.dat", "1", 0)
	sp = spec(in+"/x.dat", false, "", nil)
	_, err = rows(t, open1(t, nil, sp), sp, batch.Range{End: tableEnd}, nil)
	wantErr(err, "does not tell its format: set 'format' to one of parquet, csv, json")
	put(t, in+"/cut.parquet", "PAR1xx", 0)
	sp = spec(in+"/*.parquet", false, "", nil)
	_, err = rows(t, open1(t, nil, sp), sp, batch.Range{End: tableEnd}, nil)
	wantErr(err, `cut.parquet": 6 bytes are too few`)
	if os.Getuid() != 0 {
		put(t, in+"/secret.json", "{}", 0)
		_ = os.Chmod(in+"/secret.json", 0)
		sp = spec(in+"/secret.json", false, "", nil)
		_, err = rows(t, open1(t, nil, sp), sp, batch.Range{End: tableEnd}, nil)
		wantErr(err, "no permission to read")
	}
}

// TestManifests reads a directory of the file sink: what it writes by its manifests,
// besides what others have put there.
func TestManifests(t *testing.T) {
	in := t.TempDir()
	good, lost := "part-00000000-0-00000-000-0123456789abcdef.json", "part-00000001-0-00000-000-0123456789abcdef.json"
	put(t, in+"/"+good, `{"a":1}`, 0)
	put(t, in+"/"+lost, `{"a":2}`, 0)
	put(t, in+"/foreign.json", `{"a":3}`, 0)
	put(t, in+"/old.json", `{"a":4}`, 0)
	m := manifest.Manifest{Query: "q", Files: []manifest.File{{Name: good, Size: 7}}, Overwrites: []string{"old.json"}}
	b, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(in, manifest.Root, "q", manifest.Manifests, manifest.NameOf(m)), string(b), 0)
	sp := spec(in, false, "", nil)
	got, err := rows(t, open1(t, nil, sp), sp, batch.Range{End: tableEnd}, nil)
	if err != nil || got != "1 3" && got != "3 1" {
		t.Fatal(got, err)
	}
	sp = spec(in, true, t.TempDir(), nil)
	if _, err := Connector(vfsx.Default, registry).New(ctx, sp); err == nil {
		t.Error("a stream of a directory that was overwritten is read")
	}
}

func TestNotify(t *testing.T) {
	in := t.TempDir()
	sp := spec(in, true, t.TempDir(), nil) // polls once an hour
	s := open1(t, vfsx.Default, sp)
	defer s.Close()
	changed := s.(sources.Notifier).Changed()
	put(t, in+"/sub/a.json", `{"a":1}`, 0) // the directory's event comes first
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var at batch.Offset
	for at == "" {
		select {
		case <-changed:
		case <-wait.Done():
			t.Skip("this system tells of no changes")
		}
		var err error
		if at, err = s.Latest(ctx, at, sources.Limit{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogCrashes lets the process die at each step of writing the log: what
// was handed out as an offset is there afterwards, in the same order.
func TestLogCrashes(t *testing.T) {
	dead := errors.New("dead")
	for point := int64(0); ; point++ {
		died := false
		for seed := range uint64(6) {
			mem := vfsx.NewCrashableMem()
			var ops atomic.Int64
			fs := vfsx.Wrap(mem, vfsx.InjectorFunc(func(vfsx.Op) error {
				if ops.Add(1) > point {
					return dead
				}
				return nil
			}))
			acked := logScript(fs, &died, t)
			after := mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 20, RNG: rand.New(rand.NewPCG(seed, uint64(point)))})
			l, err := openLog(after, "ck/src")
			if err != nil {
				t.Fatalf("point %d seed %d: %v", point, seed, err)
			}
			if l.end() < int64(acked) {
				t.Fatalf("point %d seed %d: %d files of %d", point, seed, l.end(), acked)
			}
			for i, e := range l.entries {
				if want := fmt.Sprint("f", l.start+int64(i)); e.Path != want {
					t.Fatalf("point %d: position %d is %s", point, l.start+int64(i), e.Path)
				}
			}
			if err := l.add([]entry{{Path: fmt.Sprint("f", l.end())}}); err != nil {
				t.Fatal(err)
			}
			_ = l.close()
		}
		if !died {
			if point < 10 {
				t.Errorf("only %d points", point)
			}
			return
		}
	}
}

func logScript(fs vfsx.FS, died *bool, t *testing.T) (acked int) {
	l, err := openLog(fs, "ck/src")
	if err != nil {
		*died = true
		return 0
	}
	defer func() { _ = l.close() }()
	for i := 0; i < 12; i += 3 {
		var es []entry
		for j := i; j < i+3; j++ {
			es = append(es, entry{Path: fmt.Sprint("f", j), Size: 1, MTime: -5})
		}
		if l.add(es) != nil {
			*died = true
			return acked
		}
		acked = i + 3
		if i == 6 {
			l.release(4)
			if l.rewrite() != nil {
				*died = true
				return acked
			}
		}
	}
	return acked
}

func TestLogDamage(t *testing.T) {
	fs := vfsx.NewMem()
	l, err := openLog(fs, "ck")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := l.add([]entry{{Path: fmt.Sprint("some/longer/path/", i), Size: 5, MTime: 7}}); err != nil {
			t.Fatal(err)
		}
	}
	_ = l.close()
	good, err := vfsx.ReadFile(fs, "ck/"+logName, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	last := len(good) - 1 - len("some/longer/path/0") // inside the last record
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		x := &fileLog{path: "ck/files.log", seen: map[string]entry{}}
		whole, err := x.load(bad)
		switch {
		case i < last-12 && err == nil:
			t.Fatalf("byte %d: damage was not seen", i)
		case err != nil && !strings.Contains(err.Error(), "ck/files.log"):
			t.Fatal(err)
		case err == nil && whole == len(good):
			t.Fatalf("byte %d: read as whole", i)
		}
		y := &fileLog{seen: map[string]entry{}}
		if _, err := y.load(good[:i]); err != nil && i >= len(logHeader) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// TestLogStaysShort takes and releases many files that go away again.
func TestLogStaysShort(t *testing.T) {
	fs := vfsx.NewMem()
	l, err := openLog(fs, "ck")
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for i := range 20000 {
		if err := l.add([]entry{{Path: fmt.Sprintf("in/some-directory/file-%06d.parquet", i), Size: 5, MTime: 7}}); err != nil {
			t.Fatal(err)
		}
		l.release(int64(i))
		if err := l.compact(nil); err != nil {
			t.Fatal(err)
		}
	}
	if l.size > 2*compactAt || len(l.seen) > 20000 {
		t.Errorf("%d bytes, %d names", l.size, len(l.seen))
	}
	again, err := openLog(fs, "ck")
	if err != nil || again.end() != 20000 {
		t.Fatal(again, err)
	}
	_ = again.close()
}

// TestVersion1 reads a log that version 1 has written. It is never written again.
func TestVersion1(t *testing.T) {
	b, err := os.ReadFile("testdata/files-1.log")
	if err != nil {
		t.Fatal(err)
	}
	l := &fileLog{seen: map[string]entry{}}
	n, err := l.load(b)
	want := []entry{{Path: "in/b.csv", Size: 20, MTime: -5}, {Path: "in/c.csv", Size: 30, MTime: 1_700_000_000_000_000_000}}
	if err != nil || n != len(b) || l.start != 1 || !slices.Equal(l.entries, want) || l.seen["in/a.csv"].Size != 10 {
		t.Fatalf("%+v %v", l, err)
	}
	if _, err := l.load([]byte("sluice-files 2\nxx")); err == nil || !strings.Contains(err.Error(), "version 2, and this program knows version 1") {
		t.Error(err)
	}
}

func FuzzLog(f *testing.F) {
	f.Add([]byte(logHeader + "\x05\x00\x00\x00\x00\x00\x00\x00hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = (&fileLog{seen: map[string]entry{}}).load(b)
	})
}

func TestRepeatTypes(t *testing.T) {
	for _, dt := range []arrow.DataType{arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.FixedWidthTypes.Date32, ts,
		arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Boolean, &arrow.Decimal128Type{Precision: 9, Scale: 2}} {
		b := array.NewBuilder(memory.DefaultAllocator, dt)
		v := map[arrow.Type]string{arrow.STRING: "x", arrow.DATE32: "2024-01-02", arrow.TIMESTAMP: "2024-01-02T03:04:05Z", arrow.BOOL: "true"}[dt.ID()]
		if v == "" {
			v = "7"
		}
		if err := b.AppendValueFromString(v); err != nil {
			t.Fatal(err)
		}
		one := b.NewArray()
		got, err := repeat(one, 3, memory.DefaultAllocator)
		if err != nil || got.Len() != 3 || got.ValueStr(2) != one.ValueStr(0) {
			t.Errorf("%s: %v %v", dt, got, err)
		}
	}
}
