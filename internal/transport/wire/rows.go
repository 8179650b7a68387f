package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
	"github.com/sluice-stream/sluice/sources"
)

// What connections are tuned with. A stream's window is what may lie with its receiver
// unread, outside of anybody's memory limit, times the streams that it has open ahead. It is
// more than a fast network has on its way: where tasks keep all processors busy, a sender
// gets one every few milliseconds, and its reader waits for so long with each window that it
// has used up. The connection's own window bounds nothing: gRPC opens it as data arrives.
const (
	windowBytes     = 4 << 20
	connWindowBytes = 64 << 20
	ioBytes         = 128 << 10
	frameBytes      = 1 << 20 // of metadata beside a batch or a message
	minKeepalive    = 10 * time.Second
)

// errorKey is the trailer that carries an error of the serving node as pb.Error.
const errorKey = "sluice-error-bin"

func keepaliveOf(o *Options) keepalive.ClientParameters {
	return keepalive.ClientParameters{Time: minKeepalive, Timeout: max(o.Lease, time.Second)}
}

func connectParams(o *Options) grpc.ConnectParams {
	return grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: o.RetryMax / 20, Multiplier: 2, Jitter: 0.2, MaxDelay: o.RetryMax},
		MinConnectTimeout: o.Handshake,
	}
}

// rows serves rows to other nodes and fetches theirs.
type rows struct {
	opt     *Options
	serving func(transport.NodeID) Serve
	ctx     context.Context // of all streams here; ended by close
	cancel  context.CancelFunc

	mu struct {
		sync.Mutex
		peers  map[transport.NodeID]*remote
		driver *remote // whose nodes are no peers; nil while there is none
		closed bool
	}
}

// remote is another node and the connection to it, once there is one.
type remote struct {
	addr string
	conn *grpc.ClientConn
}

func newRows(opt *Options, serving func(transport.NodeID) Serve) *rows {
	r := &rows{opt: opt, serving: serving}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.mu.peers = map[transport.NodeID]*remote{}
	return r
}

// update notes where others are. Streams from one that is gone or has moved break.
func (r *rows) update(p *pb.Peers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	drop := func(id transport.NodeID) {
		if o := r.mu.peers[id]; o != nil && o.conn != nil {
			_ = o.conn.Close() // its streams say so
		}
		delete(r.mu.peers, id)
	}
	if p.GetAll() {
		stay := map[transport.NodeID]bool{}
		for _, x := range p.GetPeers() {
			stay[transport.NodeID(x.GetNode())] = true
		}
		for id := range r.mu.peers {
			if !stay[id] {
				drop(id)
			}
		}
	}
	for _, x := range p.GetPeers() {
		id := transport.NodeID(x.GetNode())
		if o := r.mu.peers[id]; o == nil || o.addr != x.GetAddress() {
			drop(id)
			r.mu.peers[id] = &remote{addr: x.GetAddress()}
		}
	}
	for _, id := range p.GetGone() {
		drop(transport.NodeID(id))
	}
}

// joined notes where the driver is, with "" that there is none. Who is no worker is
// asked for there.
func (r *rows) joined(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.mu.driver
	if d != nil && d.addr == addr {
		return
	}
	if r.mu.driver = nil; addr != "" && !r.mu.closed {
		r.mu.driver = &remote{addr: addr}
	}
	if d != nil && d.conn != nil {
		_ = d.conn.Close() // its streams say so
	}
}

func (r *rows) conn(id transport.NodeID) (*grpc.ClientConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, as := r.mu.peers[id], id
	if p == nil {
		p, as = r.mu.driver, "" // a node of the driver has the driver's certificate
	}
	switch {
	case r.mu.closed:
		return nil, gone("fetch from", id, "this node is closed")
	case p == nil:
		return nil, gone("fetch from", id, "nobody says where it is")
	case p.conn != nil:
		return p.conn, nil
	}
	c, err := r.opt.connect(as, p.addr)
	if err != nil {
		return nil, batch.ExternalError(fmt.Errorf("dial node %q at %s: %w", id, p.addr, err), true)
	}
	p.conn = c
	return c, nil
}

// close ends all streams and connections.
func (r *rows) close() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.closed = true
	for _, p := range r.mu.peers {
		if p.conn != nil {
			_ = p.conn.Close() // its streams say so
		}
	}
	if d := r.mu.driver; d != nil && d.conn != nil {
		_ = d.conn.Close()
	}
}

// fetchTasks opens a stream of what several tasks have left with another node.
func (r *rows) fetchTasks(ctx context.Context, from transport.NodeID, ref transport.StreamRef, tasks []int, alloc memory.Allocator) (transport.TasksReader, error) {
	if len(tasks) == 0 {
		return transport.InTurn(ref, nil, nil), nil
	}
	f, err := r.fetch(ctx, from, ref, tasks, alloc)
	if err != nil {
		return nil, err
	}
	return f.(*fetched), nil
}

// fetch opens a stream of another node's rows and does not wait for them.
func (r *rows) fetch(ctx context.Context, from transport.NodeID, ref transport.StreamRef, tasks []int, alloc memory.Allocator) (sources.Reader, error) {
	conn, err := r.conn(from)
	if err != nil {
		return nil, err
	}
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	ticket, err := proto.Marshal(refOut(from, ref, tasks...))
	if err != nil {
		return nil, fmt.Errorf("encode the ticket for %+v: %w", ref, err)
	}
	f := &fetched{from: from, ref: ref, tasks: tasks, alloc: alloc, max: r.opt.BatchBytesMax}
	var live context.Context // as long as the reader, which is longer than ctx may be
	live, f.cancel = context.WithCancelCause(r.ctx)
	defer context.AfterFunc(ctx, func() { f.cancel(context.Cause(ctx)) })()
	f.stream, err = conn.NewStream(live, &grpc.StreamDesc{ServerStreams: true}, "/"+flightService+"/"+flightMethod, grpc.MaxRetryRPCBufferSize(0))
	if err == nil {
		err = f.stream.SendMsg(&raw{body: ticketOut(ticket)})
	}
	if err == nil {
		err = f.stream.CloseSend()
	}
	if err == io.EOF {
		return f, nil // it has ended already: Next says why
	}
	if err != nil {
		err = f.fault(err)
		f.cancel(err)
		return nil, err
	}
	return f, nil
}

// doGet serves one stream of rows.
func (r *rows) doGet(stream grpc.ServerStream) error {
	var m raw
	if err := stream.RecvMsg(&m); err != nil {
		return err
	}
	b, err := ticketIn(m.body)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	var p pb.StreamRef
	if err := proto.Unmarshal(b, &p); err != nil {
		return status.Errorf(codes.InvalidArgument, "a ticket: %v", err)
	}
	to, ref := refIn(&p)
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(gone("read from", to, "it is closed")) })()
	w := &flightWriter{stream: stream, pack: r.opt.packing(stream.Context()), alloc: memory.DefaultAllocator, max: r.opt.BatchBytesMax}
	if list := p.GetTasks(); len(list) == 0 {
		err = r.caught(ctx, w, to, ref)
	} else {
		for i, task := range list {
			ref.Task, w.tasks, w.place = int(task), true, uint32(i)
			if err = r.caught(ctx, w, to, ref); err != nil {
				break
			}
		}
	}
	if err = errors.Join(err, w.close()); err == nil {
		return nil
	}
	if e, marshal := proto.Marshal(errorOut(err)); marshal == nil {
		stream.SetTrailer(metadata.Pairs(errorKey, string(e)))
	}
	return status.Error(codes.Aborted, "the rows cannot be read")
}

// caught makes an error of a panic in what is read, which would end the process else.
func (r *rows) caught(ctx context.Context, w *flightWriter, to transport.NodeID, ref transport.StreamRef) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("rows of stage %d task %d: panic: %v", ref.Stage, ref.Task, p)
			r.opt.Logger.Error("reading rows for another node panicked", "error", err, "stack", string(debug.Stack()))
		}
	}()
	return r.stream(ctx, w, to, ref)
}

// stream sends the output of one task.
func (r *rows) stream(ctx context.Context, w *flightWriter, to transport.NodeID, ref transport.StreamRef) (err error) {
	serve := r.serving(to)
	if serve == nil {
		return gone("read from", to, "it serves nothing at this address")
	}
	in, err := serve(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for {
		rec, err := in.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		err = w.write(rec)
		rec.Release()
		if err != nil {
			return fmt.Errorf("send rows of stage %d task %d: %w", ref.Stage, ref.Task, err)
		}
	}
}

// fault makes of an error of gRPC's the one that the other node has met, or says that
// the other node is away.
func (f *fetched) fault(err error) error {
	doing := f.what()
	if f.stream != nil {
		if v := f.stream.Trailer().Get(errorKey); len(v) > 0 {
			var e pb.Error
			if proto.Unmarshal([]byte(v[0]), &e) == nil {
				return fmt.Errorf("%s: %w", doing, errorIn(&e))
			}
		}
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
		return batch.ExternalError(fmt.Errorf("%s: %w: %w", doing, transport.ErrGone, err), true)
	case codes.ResourceExhausted:
		return batch.ExternalError(fmt.Errorf("%s: %w", doing, err), false)
	default:
		return batch.ExternalError(fmt.Errorf("%s: %w", doing, err), true)
	}
}
