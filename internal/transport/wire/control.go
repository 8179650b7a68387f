package wire

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-stream/sluice/batch"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// The methods, by their names on the wire.
const (
	controlService = "sluice.wire.v1.Control"
	controlMethod  = "Attach"
	flightService  = "arrow.flight.protocol.FlightService"
	flightMethod   = "DoGet"
)

// ALPN is how gRPC names itself within TLS, and Greeting how its connections begin, for who
// shares a port among several protocols.
const (
	ALPN     = "h2"
	Greeting = "PRI "
)

// logger is what the package says things to.
type logger interface {
	Error(msg string, args ...any)
}

// newServer returns a server of rows and, if control is not nil, of workers that join.
func newServer(o *Options, r *rows, control func(grpc.ServerStream) error) *grpc.Server {
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}),
		grpc.Creds(o.serverCredentials()),
		grpc.ConnectionTimeout(o.Handshake),
		grpc.MaxConcurrentStreams(o.StreamsMax),
		grpc.MaxRecvMsgSize(o.MessageBytesMax+frameBytes),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(connWindowBytes),
		grpc.WriteBufferSize(ioBytes), grpc.ReadBufferSize(readAhead(o.ServerTLS)), experimental.BufferPool(&frames),
		// A peer that does not answer is gone, whatever it holds open here.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: max(o.Lease, minKeepalive), Timeout: max(o.Lease, minKeepalive)}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minKeepalive / 2, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	guard := func(rows bool, f func(grpc.ServerStream) error) grpc.StreamHandler {
		return func(_ any, stream grpc.ServerStream) error {
			if o.Authorize != nil {
				if err := o.Authorize(caller(stream.Context(), rows)); err != nil {
					return status.Error(codes.PermissionDenied, err.Error())
				}
			}
			return f(stream)
		}
	}
	s.RegisterService(&grpc.ServiceDesc{ServiceName: flightService, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: flightMethod, Handler: guard(true, r.doGet), ServerStreams: true},
	}}, nil)
	if control != nil {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: controlService, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
			{StreamName: controlMethod, Handler: guard(false, control), ServerStreams: true, ClientStreams: true},
		}}, nil)
	}
	return s
}

// channel is either end of a stream.
type channel interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// recv reads one frame of a control stream and its size.
func recv(stream channel) (*pb.Frame, int, error) {
	var m raw
	if err := stream.RecvMsg(&m); err != nil {
		return nil, 0, err
	}
	f := &pb.Frame{}
	if err := proto.Unmarshal(m.body, f); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errFrame, err)
	}
	return f, len(m.body), nil
}

func sendFrame(stream channel, f *pb.Frame) error {
	b, err := proto.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	return stream.SendMsg(&raw{body: b})
}

// control is the driver's half of a worker's stream.
func (h *Hub) control(stream grpc.ServerStream) error {
	hello, err := h.hello(stream)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	h.awaitLeader(stream.Context())
	m, number, resumed, err := h.admit(hello, caller(stream.Context(), false))
	if err != nil {
		return sendFrame(stream, &pb.Frame{Body: &pb.Frame_Refused{Refused: refusal(err)}})
	}
	err = sendFrame(stream, &pb.Frame{Body: &pb.Frame_Welcome{Welcome: &pb.Welcome{
		Protocol: Protocol, Driver: string(h.opt.ID), Hub: h.number, Session: m.session.id, Resumed: resumed, Received: m.session.got(),
		HeartbeatNanos: int64(h.opt.Heartbeat), LeaseNanos: int64(h.opt.Lease),
	}}})
	if err == nil {
		err = h.attend(stream, m, number)
	}
	if gone := m.session.reason(); gone != nil && !errors.Is(err, errStale) {
		h.mu.Lock()
		away := h.mu.away
		h.mu.Unlock()
		bye := &pb.Goodbye{Reason: gone.Error()}
		if away != nil {
			bye.Redirect = away.To
		}
		return sendFrame(stream, &pb.Frame{Body: &pb.Frame_Goodbye{Goodbye: bye}})
	}
	h.wg.Go(func() { h.probe(m, number) })
	return err
}

// refusal says why a worker may not join, and whether it may try again.
func refusal(err error) *pb.Refused {
	r := &pb.Refused{Reason: err.Error()}
	var away *Redirect
	if errors.As(err, &away) {
		r.Redirect = away.To
		return r
	}
	kind, _ := batch.KindOf(err)
	r.Final = kind == batch.User
	return r
}

// hello waits for a worker's first frame, but not for long.
func (h *Hub) hello(stream grpc.ServerStream) (*pb.Hello, error) {
	type first struct {
		f   *pb.Frame
		err error
	}
	got := make(chan first, 1)
	h.wg.Go(func() { // ends at the latest when the stream does, which is when control returns
		f, _, err := recv(stream)
		got <- first{f, err}
	})
	late := make(chan struct{})
	defer h.opt.Clock.AfterFunc(h.opt.Handshake, func() { close(late) })()
	select {
	case f := <-got:
		if f.err != nil {
			return nil, f.err
		}
		if f.f.GetHello() == nil {
			return nil, fmt.Errorf("a stream begins with %T: %w", f.f.GetBody(), errFrame)
		}
		return f.f.GetHello(), nil
	case <-late:
		return nil, errors.New("a stream was opened, and nobody said hello")
	case <-h.ctx.Done():
		return nil, errors.New("the driver is closed")
	}
}

// attend serves a stream until it breaks, the session ends or another stream takes it over.
func (h *Hub) attend(stream grpc.ServerStream, m *member, number uint64) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	// Both end at the latest when the stream does, which is when control returns: neither
	// a full network nor a silent one keeps a session from going over to another stream.
	h.wg.Go(func() { cancel(m.session.write(ctx, number, stream.SendMsg)) })
	h.wg.Go(func() {
		for {
			f, n, err := recv(stream)
			if err == nil {
				m.hear(h.opt.Clock.Now())
				err = h.frame(m, number, f, n)
			}
			if err != nil {
				cancel(err)
				return
			}
		}
	})
	select {
	case <-ctx.Done():
	case <-m.session.gone:
	}
	return context.Cause(ctx)
}

// frame takes in what a worker says.
func (h *Hub) frame(m *member, number uint64, f *pb.Frame, size int) error {
	rest, err := m.session.take(number, f, size)
	if err != nil || rest == nil {
		return err
	}
	switch b := rest.GetBody().(type) {
	case *pb.Frame_Status:
		h.mu.Lock()
		m.mu.Lock()
		changed := m.mu.info.Draining != b.Status.GetDraining()
		m.mu.info.Draining = b.Status.GetDraining()
		m.mu.Unlock()
		if changed {
			h.changedLocked()
		}
		h.mu.Unlock()
	case *pb.Frame_Goodbye:
		h.lose(m, "it has left: "+b.Goodbye.GetReason())
	default: // of a later minor version, or nothing but an ack
	}
	return nil
}
