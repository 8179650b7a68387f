package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/transporttest"
	"github.com/sluice-stream/sluice/sources"
)

// Any Flight client can read the rows: what is sent is Flight, not something like it.
func TestAForeignFlightClientReadsTheRows(t *testing.T) {
	recs := transporttest.Small(memory.DefaultAllocator)[:3] // one schema: the library's reader takes no more
	defer transporttest.Release(recs)
	h, err := Listen(t.Context(), Options{ID: "d", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, h)
	endpoint(t, h, "q").Serve(func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
		if ref != (transport.StreamRef{Key: "k", Task: 4}) {
			t.Errorf("asked for %+v", ref)
		}
		return transporttest.NewReader(nil, recs...), nil
	})
	c, err := flight.NewClientWithMiddleware(h.Addr(), nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, c)
	ticket, err := proto.Marshal(refOut("q", transport.StreamRef{Key: "k", Task: 4}))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.DoGet(t.Context(), &flight.Ticket{Ticket: ticket})
	if err != nil {
		t.Fatal(err)
	}
	r, err := flight.NewRecordReader(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	var got []arrow.RecordBatch
	for r.Next() {
		rec := r.RecordBatch()
		rec.Retain()
		got = append(got, rec)
	}
	defer transporttest.Release(got)
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	transporttest.Equal(t, got, recs)
	for name, bad := range map[string][]byte{"no ticket": {0xff}, "another node": nil} {
		s, err := c.DoGet(t.Context(), &flight.Ticket{Ticket: bad})
		if err == nil {
			_, err = s.Recv()
		}
		if err == nil || err == io.EOF {
			t.Errorf("%s was answered: %v", name, err)
		}
	}
}

// tape takes down what a flightWriter sends.
type tape struct {
	grpc.ServerStream
	all [][]byte
}

func (s *tape) SendMsg(m any) error {
	bufs, err := codec{}.Marshal(m)
	s.all = append(s.all, bufs.Materialize())
	bufs.Free()
	return err
}

// replay is the other end of a tape.
type replay struct {
	grpc.ClientStream
	all [][]byte
}

func (s *replay) RecvMsg(m any) error {
	if len(s.all) == 0 {
		return io.EOF
	}
	b := s.all[0]
	s.all = s.all[1:]
	// In two parts, as the network cuts messages anywhere.
	return codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b[:len(b)/2]), mem.SliceBuffer(b[len(b)/2:])}, m)
}

func (s *replay) Trailer() metadata.MD { return nil }

func record(t testing.TB, pack Compression, recs ...arrow.RecordBatch) [][]byte {
	t.Helper()
	s := &tape{}
	w := &flightWriter{stream: s, alloc: memory.DefaultAllocator, pack: pack, max: 1 << 30}
	for _, r := range recs {
		if err := w.write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return s.all
}

func play(all [][]byte, alloc memory.Allocator, most int64) ([]arrow.RecordBatch, error) {
	f := &fetched{from: "w", alloc: alloc, max: most, stream: &replay{all: all}, cancel: func(error) {}}
	var recs []arrow.RecordBatch
	for {
		rec, err := f.Next(context.Background())
		if err == io.EOF {
			return recs, f.Close()
		}
		if err != nil {
			return recs, errors.Join(err, f.Close())
		}
		recs = append(recs, rec)
	}
}

// A byte that is changed anywhere on the way is found, and nothing is kept.
func TestDamagedRowsAreFound(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	all := transporttest.Small(memory.DefaultAllocator)
	defer transporttest.Release(all)
	for _, pack := range []Compression{None, LZ4, ZSTD} {
		sent := record(t, pack, all[1], all[3])
		for i, b := range sent {
			for at := 0; at < len(b); at += 1 + at/8 {
				sent[i] = bytes.Clone(b)
				sent[i][at] ^= 0x10
				recs, err := play(sent, alloc, 1<<20)
				transporttest.Release(recs)
				if err == nil {
					t.Fatalf("message %d with byte %d of %d changed was read", i, at, len(b))
				}
			}
			sent[i] = b
		}
	}
}

// What one message claims, with a sum that is right, is held to what is there (X6).
func TestClaimsAreChecked(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	rec := transporttest.Wide(memory.DefaultAllocator, 1<<15)
	defer rec.Release()
	sent := record(t, LZ4, rec)
	recs, err := play(sent, alloc, 1<<20)
	transporttest.Release(recs)
	if err != nil {
		t.Fatal(err)
	}
	recs, err = play(sent, alloc, 100<<10)
	transporttest.Release(recs)
	if kind, _ := batch.KindOf(err); err == nil || kind != batch.External {
		t.Fatalf("a batch that unpacks beyond the limit: %v", err)
	}
	w := &flightWriter{stream: &tape{}, alloc: memory.DefaultAllocator, max: 100}
	if err := w.write(rec); err == nil {
		t.Fatal("a batch beyond the limit was sent")
	}
}

// An allocator at its limit refuses by a panic, which is the reader's error.
func TestMemoryThatIsShortIsAnError(t *testing.T) {
	rec := transporttest.Wide(memory.DefaultAllocator, 1<<15)
	defer rec.Release()
	for _, pack := range []Compression{None, LZ4, ZSTD} {
		recs, err := play(record(t, pack, rec.NewSlice(0, 10), rec), &small{left: 100 << 10}, 1<<30)
		transporttest.Release(recs)
		if kind, _ := batch.KindOf(err); kind != batch.User || !errors.Is(err, errSmall) || len(recs) != 1 {
			t.Errorf("%d batches, %v", len(recs), err)
		}
	}
}

var errSmall = errors.New("the limit is reached")

type small struct{ left int }

func (s *small) Allocate(n int) []byte {
	if s.left -= n; s.left < 0 {
		panic(batch.UserErrorf("%d bytes: %w", n, errSmall))
	}
	return make([]byte, n)
}

func (s *small) Reallocate(n int, b []byte) []byte {
	c := s.Allocate(n)
	copy(c, b)
	return c
}

func (*small) Free([]byte) {}

// FuzzRows: whatever comes with a right sum, nothing panics and no more memory is asked for
// than the limit allows. (What the library has begun of a batch that it cannot read it leaves
// to the garbage collector; a task's tracker gives that back when the task is closed.)
func FuzzRows(f *testing.F) {
	all := transporttest.Small(memory.DefaultAllocator)
	for _, pack := range []Compression{None, LZ4, ZSTD} {
		sent := record(f, pack, all[2], all[3])
		for i := range sent {
			f.Add(sent[i], i, pack != None)
		}
	}
	seeds := map[bool][][]byte{false: record(f, None, all[2], all[3]), true: record(f, LZ4, all[2], all[3])}
	transporttest.Release(all)
	f.Fuzz(func(t *testing.T, b []byte, i int, packed bool) {
		sent := append([][]byte(nil), seeds[packed]...)
		sent[uint(i)%uint(len(sent))] = resum(b)
		recs, err := play(sent, &small{left: 16 << 20}, 1<<20)
		transporttest.Release(recs)
		if errors.Is(err, errSmall) {
			t.Fatal(err)
		}
	})
}

// resum gives a message the sum that it should have, if it is one at all.
func resum(b []byte) []byte {
	in := incoming{alloc: memory.DefaultAllocator}
	in.parse(mem.BufferSlice{mem.SliceBuffer(b)})
	defer in.release()
	if in.err != nil || in.body == nil {
		return b
	}
	place, many := in.place()
	m := lay(in.header, in.body.Len(), many, place)
	m.Write(in.body.Bytes())
	return m.done(in.header).take().Materialize()
}

func TestAPlainPortIsLocal(t *testing.T) {
	if _, err := Listen(t.Context(), Options{ID: "d", Listen: "0.0.0.0:0", Advertise: "h:1"}); !errors.Is(err, ErrPlain) {
		t.Errorf("a plain port for everybody: %v", err)
	}
	o := Options{Dial: func(context.Context, string) (net.Conn, error) { return far{}, nil }}
	if _, err := o.dial(t.Context(), "10.0.0.1:1"); !errors.Is(err, ErrPlain) {
		t.Errorf("plain text to afar: %v", err)
	}
	for _, o := range []Options{{}, {ID: "x"}, {ID: "x", Listen: ":0", Heartbeat: 2, Lease: 3}} {
		if _, err := Listen(t.Context(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := Join(t.Context(), Options{ID: "x", Listen: "127.0.0.1:0"}); err == nil {
		t.Error("a worker without a driver")
	}
}

// far is a connection to another machine.
type far struct{ net.Conn }

func (far) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1} }
func (far) Close() error         { return nil }
