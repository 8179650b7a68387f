package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type dialer = func(context.Context, string) (net.Conn, error)

// sends is a dialer whose first connections send the texts, one each, and close;
// later ones are refused.
func sends(texts ...string) dialer {
	var next atomic.Int64
	return func(context.Context, string) (net.Conn, error) {
		i := int(next.Add(1)) - 1
		if i >= len(texts) {
			return nil, errors.New("connection refused")
		}
		return &textConn{Reader: strings.NewReader(texts[i])}, nil
	}
}

// textConn is a connection that sends a text and then closes.
type textConn struct {
	net.Conn
	*strings.Reader
}

func (c *textConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }
func (c *textConn) Close() error               { return nil }

func specOf(dir string, stream bool, kv ...string) sources.Spec {
	m := options.Map{"port": "9999", "retry-delay": "0s"}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return sources.Spec{Name: "s#0", Table: "s", Stream: stream, Dir: dir, Options: m}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d é\n", i)
	}
	return b.String()
}

func opened(t testing.TB, spec sources.Spec, fs vfsx.FS, dial dialer) *source {
	t.Helper()
	s, err := open(spec, clock.System(), fs, dial)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t testing.TB, s *source) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// drain logs everything in batches of limit and returns the end.
func drain(t testing.TB, s *source, from batch.Offset, limit int64) batch.Offset {
	t.Helper()
	for {
		to, err := s.Latest(t.Context(), from, sources.Limit{Rows: limit})
		if err != nil {
			t.Fatal(err)
		}
		if to == from {
			return to
		}
		from = to
	}
}

// texts reads a range through Plan and Open.
func texts(t testing.TB, s *source, from, to batch.Offset) []string {
	t.Helper()
	splits, err := s.Plan(t.Context(), batch.Range{Start: from, End: to})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, split := range splits {
		r, err := (&opener{schema: s.Schema()}).Open(t.Context(), split, nil, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			out = append(out, rec.Column(0).(*array.String).Value(i))
		}
		rec.Release()
	}
	return out
}

func TestConformance(t *testing.T) {
	var fs *vfsx.MemFS
	sourcetest.Run(t, sourcetest.Case{
		Fresh: func(t testing.TB) {
			fs = vfsx.NewMem()
			s := opened(t, specOf("dir", false, "include-timestamp", "true"), fs, sends(numbered(50)))
			drain(t, s, "", 7)
			closed(t, s)
		},
		Open: func(t testing.TB) (sources.Source, sources.Opener) {
			spec := specOf("dir", true, "include-timestamp", "true")
			o, err := Connector(clock.System()).NewOpener(spec)
			if err != nil {
				t.Fatal(err)
			}
			return opened(t, spec, fs, sends("")), o
		},
		Limit: sources.Limit{Rows: 7}, Rows: 50,
	})
}

func TestLoopback(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = conn.Write([]byte("one\r\ntwo\n\nthree \xff\nlast"))
			err = errors.Join(err, conn.Close())
		}
		sent <- err
	}()
	spec := specOf("", false, "port", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	src, err := Connector(clock.System()).New(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	s := src.(*source)
	defer closed(t, s)
	end := drain(t, s, "", 100)
	if got := texts(t, s, "", end); !slices.Equal(got, []string{"one", "two", "", "three \uFFFD", "last"}) {
		t.Errorf("lines %q", got)
	}
	if !s.Ended(end) || s.Ended("") {
		t.Error("the end is not known")
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestCrash loses everything that was not synced, at any moment after an offset
// was known, and finds the lines before it again.
func TestCrash(t *testing.T) {
	fs := vfsx.NewCrashableMem()
	s := opened(t, specOf("dir", false), fs, sends(numbered(40)))
	at := batch.Offset("")
	for range 4 {
		next, err := s.Latest(t.Context(), at, sources.Limit{Rows: 10})
		if err != nil {
			t.Fatal(err)
		}
		want := texts(t, s, at, next)
		after := opened(t, specOf("dir", true), fs.CrashClone(vfsx.CrashCloneCfg{}), sends(""))
		if got := texts(t, after, at, next); !slices.Equal(got, want) {
			t.Fatalf("O1: after a crash lines %q to %q are %q, want %q", at, next, got, want)
		}
		closed(t, after)
		at = next
	}
	closed(t, s)
}

// TestRestartGoesOn reads on in a new segment, releases and restarts again.
func TestRestartGoesOn(t *testing.T) {
	fs := vfsx.NewMem()
	at := batch.Offset("")
	for i := range 5 {
		s := opened(t, specOf("dir", false), fs, sends(numbered(3)))
		next := drain(t, s, at, 100)
		if next != offsetOf(int64(3*(i+1))) {
			t.Fatalf("run %d ends at %q", i, next)
		}
		if got := texts(t, s, at, next); len(got) != 3 {
			t.Fatalf("run %d read %q", i, got)
		}
		if err := s.Release(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		names, err := fs.List("dir")
		if err != nil || len(names) != 1 {
			t.Fatalf("O2: files %v (%v), want the last alone", names, err)
		}
		if _, err := s.Plan(t.Context(), batch.Range{Start: at, End: next}); err == nil {
			t.Fatal("released lines were planned")
		}
		closed(t, s)
		at = next
	}
}

func logBytes(t *testing.T, fs vfsx.FS, name string) []byte {
	t.Helper()
	data, err := vfsx.ReadFile(fs, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTornAndDamagedLogs(t *testing.T) {
	fs := vfsx.NewMem()
	s := opened(t, specOf("dir", false), fs, sends(numbered(6)))
	drain(t, s, "", 3)
	blocks := s.log.segments[0].blocks
	closed(t, s)
	name := fs.PathJoin("dir", "input-00000000000000000000.log")
	whole := logBytes(t, fs, name)
	write := func(data []byte) {
		if err := vfsx.WriteFileAtomic(fs, name, data); err != nil {
			t.Fatal(err)
		}
	}
	second := int(blocks[1].offset) - 4
	for cut := len(magic); cut < len(whole); cut++ {
		write(whole[:cut])
		l, err := openLog(fs, "dir")
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		want := int64(3)
		if cut < second {
			want = 0
		}
		if l.end != want {
			t.Fatalf("cut at %d: %d lines, want %d", cut, l.end, want)
		}
	}
	for at := int(blocks[0].offset); at < second; at++ {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1
		write(damaged)
		if _, err := openLog(fs, "dir"); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "damaged") {
			t.Fatalf("damaged at %d: %v", at, err)
		}
	}
	write([]byte("something else"))
	if _, err := openLog(fs, "dir"); err == nil {
		t.Error("took a foreign file for a log")
	}
	write(whole)
	if err := vfsx.WriteFileAtomic(fs, fs.PathJoin("dir", "input-00000000000000000009.log"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := openLog(fs, "dir"); err == nil || !strings.Contains(err.Error(), "lines 6 to 9 are missing") {
		t.Errorf("a gap gave %v", err)
	}
}

func TestRetriesAreLimited(t *testing.T) {
	s := opened(t, specOf("", false, "on-close", "reconnect", "connect-retries", "2"), vfsx.NewMem(), sends("a\n", "b\n", "c\npart"))
	defer closed(t, s)
	end, err := s.Latest(t.Context(), "", sources.Limit{})
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(t, s, "", end); !slices.Equal(got, []string{"a", "b", "c", "part"}) {
		t.Errorf("lines %q", got)
	}
	_, err = s.Latest(t.Context(), end, sources.Limit{})
	if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), `table "s"`) {
		t.Errorf("got %v", err)
	}
	if k, _ := batch.KindOf(err); k != batch.External {
		t.Errorf("%v is of kind %v", err, k)
	}
	if s.Ended(end) {
		t.Error("a broken connection passes for the end")
	}
}

func TestLongLineIsAnError(t *testing.T) {
	s := opened(t, specOf("", false, "max-line-bytes", "10", "connect-retries", "0"), vfsx.NewMem(), sends("0123456789\n"))
	defer closed(t, s)
	if _, err := s.Latest(t.Context(), "", sources.Limit{}); err == nil || !strings.Contains(err.Error(), "more than 10 bytes ('max-line-bytes')") {
		t.Errorf("got %v", err)
	}
}

func TestSenderWaitsWhileNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		var sent atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 1000 {
				if _, err := fmt.Fprintf(theirs, "%d\n", i); err != nil {
					return
				}
				sent.Add(1)
			}
		}()
		s := opened(t, specOf("", true, "buffer-bytes", "330"), vfsx.NewMem(), func(context.Context, string) (net.Conn, error) { return ours, nil })
		synctest.Wait()
		before := sent.Load()
		if before < 10 || before > 15 {
			t.Errorf("%d lines were taken ahead, want about 10", before)
		}
		at, err := s.Latest(t.Context(), "", sources.Limit{})
		if err != nil || at == "" {
			t.Errorf("latest is %q (%v)", at, err)
		}
		synctest.Wait()
		if after := sent.Load(); after <= before || after > before+15 {
			t.Errorf("%d lines were sent, %d before the batch", after, before)
		}
		closed(t, s) // while the sender waits
		<-done
		_ = theirs.Close()
	})
}

func TestArrivalTimeIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfsx.NewMem()
		began := time.Now()
		s := opened(t, specOf("dir", false, "include-timestamp", "true"), fs, sends("a\n"))
		end := drain(t, s, "", 10)
		closed(t, s)
		if err := clock.Wait(t.Context(), clock.System(), time.Hour); err != nil {
			t.Fatal(err)
		}
		s = opened(t, specOf("dir", false, "include-timestamp", "true"), fs, sends(""))
		defer closed(t, s)
		splits, err := s.Plan(t.Context(), batch.Range{End: end})
		if err != nil {
			t.Fatal(err)
		}
		r, err := (&opener{schema: s.Schema()}).Open(t.Context(), splits[0], []int{1}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := rec.Column(0).(*array.Timestamp).Value(0).ToTime(arrow.Microsecond); !got.Equal(began) {
			t.Errorf("the line arrived at %v, want %v", got, began)
		}
	})
}

func TestFaults(t *testing.T) {
	declaredAs := func(fields ...arrow.Field) sources.Spec {
		s := specOf("", true)
		s.Schema = arrow.NewSchema(fields, nil)
		return s
	}
	for _, f := range []struct {
		spec sources.Spec
		want string
	}{
		{sources.Spec{Table: "s"}, "option 'port' is missing"},
		{specOf("", true, "port", "70000"), "want 1 to 65535"},
		{specOf("", true, "on-close", "cry"), "want one of end, reconnect"},
		{specOf("", true, "buffer-bytes", "0"), "'buffer-bytes' = '0'"},
		{declaredAs(arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64}), "column of type STRING"},
		{declaredAs(arrow.Field{Name: "s", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64}), "column of type STRING"},
	} {
		if _, err := Connector(clock.System()).New(t.Context(), f.spec); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("got %v, want %q", err, f.want)
		}
	}
}

func FuzzParseLines(f *testing.F) {
	f.Add(appendLines(nil, 7, []line{{"a", 1}, {"", -1}}))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		first, lines, err := parseLines(data)
		if err != nil {
			return
		}
		again, lines2, err := parseLines(appendLines(nil, first, lines))
		if err != nil || again != first || !slices.Equal(lines, lines2) {
			t.Fatalf("%d %v came back as %d %v (%v)", first, lines, again, lines2, err)
		}
	})
}
