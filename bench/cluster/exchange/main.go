// Command exchange measures how fast rows go from one worker to another over the loopback
// interface, and a plain Arrow Flight DoGet of the same batches beside it, by turns:
//
//	go run ./bench/cluster/exchange [-streams 4] [-mib 2048] [-pack lz4]
//
// Both ends are in this process, so GOMAXPROCS is the processors of both.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/wire"
	"github.com/sluice-stream/sluice/sources"
)

var (
	streams = flag.Int("streams", 1, "streams at a time")
	mib     = flag.Int64("mib", 2048, "MiB of rows in all")
	rows    = flag.Int("rows", 8192, "rows of a batch")
	rounds  = flag.Int("rounds", 5, "how often each is measured, by turns")
	pack    = flag.String("pack", "none", "compress rows on both ways: none, lz4 or zstd")
	only    = flag.String("only", "", "measure one way: flight or wire")
	profile = flag.String("cpuprofile", "", "write a CPU profile to this file")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "exchange:", err)
		os.Exit(1)
	}
}

// way is one way for rows to travel.
type way struct {
	name  string
	fetch func(ctx context.Context, stream int) (rows int64, err error)
	runs  []sample
}

type sample struct{ mibPerSecond, cpuPerGiB float64 }

func run(ctx context.Context) error {
	rec, size := batchOf(*rows)
	defer rec.Release()
	each := int(*mib<<20/size) / *streams
	ours, stopOurs, err := viaWire(ctx, rec, each)
	if err != nil {
		return err
	}
	plain, stopPlain, err := viaFlight(rec, each)
	if err != nil {
		return errors.Join(err, stopOurs())
	}
	ways := []*way{{name: "plain Arrow Flight", fetch: plain}, {name: "internal/transport/wire", fetch: ours}}
	switch *only {
	case "flight":
		ways = ways[:1]
	case "wire":
		ways = ways[1:]
	}
	if *profile != "" {
		stop, err := node.Profile(*profile)
		if err != nil {
			return errors.Join(err, stopOurs(), stopPlain())
		}
		defer stop()
	}
	for range *rounds + 1 { // the first one warms up
		for _, w := range ways {
			s, err := measure(ctx, w, int64(each)*rec.NumRows(), size*int64(each)*int64(*streams))
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.runs = append(w.runs, s)
		}
	}
	fmt.Printf("%d streams, batches of %d rows and %d KiB, %d MiB in all, packed by %s\n", *streams, *rows, size>>10, *mib, *pack)
	for _, w := range ways {
		w.runs = w.runs[1:]
		slices.SortFunc(w.runs, func(a, b sample) int { return cmp.Compare(a.mibPerSecond, b.mibPerSecond) })
		m := w.runs[len(w.runs)/2]
		fmt.Printf("%-24s median %6.0f MiB/s, best %6.0f, %.2f s of CPU for a GiB\n", w.name, m.mibPerSecond, w.runs[len(w.runs)-1].mibPerSecond, m.cpuPerGiB)
	}
	return errors.Join(stopOurs(), stopPlain())
}

// measure reads all streams of a way at once.
func measure(ctx context.Context, w *way, wantRows, bytes int64) (sample, error) {
	g, ctx := errgroup.WithContext(ctx)
	cpu, start := node.CPU(syscall.RUSAGE_SELF), time.Now()
	for i := range *streams {
		g.Go(func() error {
			n, err := w.fetch(ctx, i)
			if err == nil && n != wantRows {
				err = fmt.Errorf("%d rows came of %d", n, wantRows)
			}
			return err
		})
	}
	err := g.Wait()
	took := time.Since(start)
	used := node.CPU(syscall.RUSAGE_SELF) - cpu
	return sample{float64(bytes) / (1 << 20) / took.Seconds(), used.Seconds() / (float64(bytes) / (1 << 30))}, err
}

// batchOf is a batch such as exchanges carry: numbers, a time and a text.
func batchOf(rows int) (arrow.RecordBatch, int64) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "auction", Type: arrow.PrimitiveTypes.Int64}, {Name: "bidder", Type: arrow.PrimitiveTypes.Int64}, {Name: "price", Type: arrow.PrimitiveTypes.Float64},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "url", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	size := int64(0)
	for i := range rows {
		text := fmt.Sprintf("https://example.org/item/%d", i*7919%100_003)
		b.Field(0).(*array.Int64Builder).Append(int64(i) * 31 % 1000)
		b.Field(1).(*array.Int64Builder).Append(int64(i) * 17)
		b.Field(2).(*array.Float64Builder).Append(float64(i) / 7)
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
		b.Field(4).(*array.StringBuilder).Append(text)
		size += 4*8 + 4 + int64(len(text))
	}
	return b.NewRecordBatch(), size
}

// again gives one batch many times.
type again struct {
	rec  arrow.RecordBatch
	left int
}

func (a *again) Next(context.Context) (arrow.RecordBatch, error) {
	if a.left == 0 {
		return nil, io.EOF
	}
	a.left--
	a.rec.Retain()
	return a.rec, nil
}

func (a *again) Close() error { return nil }

func viaWire(ctx context.Context, rec arrow.RecordBatch, each int) (func(context.Context, int) (int64, error), func() error, error) {
	h, err := wire.Listen(ctx, wire.Options{ID: "driver", Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, nil, err
	}
	n, err := wire.Join(ctx, wire.Options{ID: "worker", Listen: "127.0.0.1:0", Join: []string{h.Addr()}, Compression: wire.Compression(*pack), PackLocal: true})
	if err != nil {
		return nil, nil, errors.Join(err, h.Close())
	}
	stop := func() error { return errors.Join(n.Close(), h.Close()) }
	n.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) { return &again{rec, each}, nil })
	e, err := h.Join("reader")
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	for changed := h.Changed(); len(h.Members()) == 0; changed = h.Changed() {
		<-changed
	}
	return func(ctx context.Context, i int) (rows int64, err error) {
		r, err := e.Fetch(ctx, "worker", transport.StreamRef{Task: i}, nil)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		for {
			rec, err := r.Next(ctx)
			if err == io.EOF {
				return rows, nil
			}
			if err != nil {
				return rows, err
			}
			rows += rec.NumRows()
			rec.Release()
		}
	}, stop, nil
}

// server is the least that Flight asks of one.
type server struct {
	flight.BaseFlightServer
	rec  arrow.RecordBatch
	each int
}

func (s *server) DoGet(_ *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	opts := []ipc.Option{ipc.WithSchema(s.rec.Schema())}
	switch *pack {
	case "lz4":
		opts = append(opts, ipc.WithLZ4())
	case "zstd":
		opts = append(opts, ipc.WithZstd())
	}
	w := flight.NewRecordWriter(stream, opts...)
	for range s.each {
		if err := w.Write(s.rec); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}

func viaFlight(rec arrow.RecordBatch, each int) (func(context.Context, int) (int64, error), func() error, error) {
	s := flight.NewServerWithMiddleware(nil)
	if err := s.Init("127.0.0.1:0"); err != nil {
		return nil, nil, err
	}
	s.RegisterFlightService(&server{rec: rec, each: each})
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	c, err := flight.NewClientWithMiddleware(s.Addr().String(), nil, nil, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.Shutdown()
		return nil, nil, errors.Join(err, <-served)
	}
	stop := func() error {
		err := c.Close()
		s.Shutdown()
		return errors.Join(err, <-served)
	}
	return func(ctx context.Context, _ int) (rows int64, err error) {
		stream, err := c.DoGet(ctx, &flight.Ticket{Ticket: []byte("all")})
		if err != nil {
			return 0, err
		}
		r, err := flight.NewRecordReader(stream)
		if err != nil {
			return 0, err
		}
		defer r.Release()
		for r.Next() {
			rows += r.RecordBatch().NumRows()
		}
		return rows, r.Err()
	}, stop, nil
}
