package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// errFinal is wrapped where a driver will never take this worker.
var errFinal = errors.New("the driver refuses this worker")

// attach keeps the worker attached to a driver until Close or a refusal for good.
func (n *Node) attach() {
	defer n.drop("the worker is closed")
	way := route{opt: &n.opt}
	for {
		addr, pause := way.next()
		if clock.Wait(n.ctx, n.opt.Clock, pause) != nil {
			return
		}
		attached, to, err := n.visit(addr)
		switch {
		case n.ctx.Err() != nil:
			return
		case errors.Is(err, errFinal):
			n.opt.Logger.Error("no driver takes this worker", "error", err)
			n.drop(err.Error())
			n.setLink(func(l *Link) { l.Refused = err })
			return
		case attached:
			n.opt.Logger.Info("the driver is away", "address", addr, "error", err)
			way.left(addr, to)
		default:
			n.opt.Logger.Debug("the driver does not take this worker", "address", addr, "sent", to, "error", err)
			way.sent(to)
		}
	}
}

// route says where to look for a driver next: where one sends us, then the others. It
// pauses between two rounds over all of them, longer and longer, and nowhere else: so a
// leader is found as soon as anybody knows it, and two that send us to and fro do not
// keep us busy.
type route struct {
	opt   *Options
	first string          // where a driver sent us, or was
	tried map[string]bool // in this round
	pause time.Duration   // before the next round
	soon  time.Duration   // before the next visit
}

func (r *route) next() (addr string, pause time.Duration) {
	pause, r.soon = r.soon, 0
	if r.tried == nil {
		r.tried = map[string]bool{}
	}
	if first := r.first; first != "" && !r.tried[first] {
		r.first, r.tried[first] = "", true
		return first, pause
	}
	for _, a := range r.opt.Join {
		if !r.tried[a] {
			r.tried[a] = true
			return a, pause
		}
	}
	longest := r.opt.RetryMax
	if len(r.opt.Join) > 1 {
		longest /= 4 // one of them is soon elected
	}
	r.pause = min(max(2*r.pause, r.opt.RetryMax/20), longest)
	r.tried = map[string]bool{}
	addr, _ = r.next()
	return addr, r.pause
}

// left begins anew after a driver that we had joined: it may be there at once, as may be
// the one that it sends us to.
func (r *route) left(addr, to string) {
	*r = route{opt: r.opt, first: cmp.Or(to, addr)}
	if to == "" {
		r.soon = r.opt.RetryMax / 20
	}
}

// sent goes on where a driver sends us; "" is nowhere.
func (r *route) sent(to string) { r.first = to }

// visit joins the driver at an address and stays until the stream breaks. next is where
// the driver says another one leads.
func (n *Node) visit(addr string) (attached bool, next string, err error) {
	conn, err := n.opt.connect("", addr)
	if err != nil {
		return false, "", fmt.Errorf("dial driver %s: %w", addr, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	closing := context.AfterFunc(n.ctx, func() { cancel(n.ctx.Err()) })
	defer closing()
	within := func(d time.Duration) (stop func() bool) {
		return n.opt.Clock.AfterFunc(d, func() { cancel(fmt.Errorf("driver %s did not answer within %s", addr, d)) })
	}
	patience := n.opt.Handshake
	if len(n.opt.Join) > 1 {
		patience /= 5 // there are others to ask
	}
	reached := within(patience)
	defer reached()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+controlService+"/"+controlMethod)
	if err != nil {
		return false, "", fmt.Errorf("open a stream to driver %s: %w", addr, err)
	}
	stop := within(n.opt.Handshake)
	defer stop()
	if !reached() {
		return false, "", context.Cause(ctx)
	}
	asked := n.opt.Clock.Now()
	if err := sendFrame(stream, n.hello()); err != nil {
		return false, "", fmt.Errorf("say hello to driver %s: %w", addr, err)
	}
	f, _, err := recv(stream)
	if err != nil {
		return false, "", fmt.Errorf("wait for the answer of driver %s: %w", addr, errors.Join(err, context.Cause(ctx)))
	}
	if !stop() {
		return false, "", context.Cause(ctx)
	}
	switch b := f.GetBody().(type) {
	case *pb.Frame_Refused:
		err := fmt.Errorf("driver %s: %s", addr, b.Refused.GetReason())
		if b.Refused.GetFinal() {
			err = batch.ExternalError(fmt.Errorf("%w: %w", errFinal, err), false)
		}
		return false, b.Refused.GetRedirect(), err
	case *pb.Frame_Welcome:
		if !closing() { // from here on closing says goodbye first
			return false, "", n.ctx.Err()
		}
		next, err := n.stay(ctx, cancel, stream, addr, b.Welcome, asked)
		return true, next, err
	default:
		return false, "", fmt.Errorf("driver %s answers with %T: %w", addr, b, errFrame)
	}
}

// connect makes a connection to a node, "" for a driver, which is dialled when it is first used.
func (o *Options) connect(id transport.NodeID, addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(o.clientCredentials(id)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return o.dial(ctx, addr) }),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(int(o.BatchBytesMax)+frameBytes)),
		grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(connWindowBytes),
		grpc.WithWriteBufferSize(ioBytes), grpc.WithReadBufferSize(readAhead(o.ClientTLS)), experimental.WithBufferPool(&frames),
		grpc.WithKeepaliveParams(keepaliveOf(o)),
		grpc.WithConnectParams(connectParams(o)),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
	)
}

// hello says who we are and which session should go on.
func (n *Node) hello() *pb.Frame {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &pb.Hello{
		Protocol: Protocol, Node: string(n.opt.ID), Incarnation: n.opt.Incarnation, Address: n.addr,
		Slots: int64(n.opt.Resources.Slots), Memory: n.opt.Resources.Memory, Version: n.opt.Resources.Version, Draining: n.mu.draining,
	}
	if s := n.mu.session; s != nil {
		h.Hub, h.Session, h.Received = n.mu.hub, s.id, s.got()
	}
	return &pb.Frame{Body: &pb.Frame_Hello{Hello: h}}
}

// stay is attached until the stream breaks or the driver says goodbye.
func (n *Node) stay(ctx context.Context, cancel context.CancelCauseFunc, stream grpc.ClientStream, addr string, w *pb.Welcome, asked time.Time) (next string, err error) {
	s, number, err := n.welcome(addr, w, asked)
	if err != nil {
		return "", err
	}
	writing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(n.ctx, func() { stop(n.ctx.Err()) })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.write(writing, number, stream.SendMsg)
		if n.ctx.Err() != nil && n.leave(stream, cancel) {
			return // the driver ends the stream
		}
		cancel(err)
	}()
	defer func() {
		n.setLink(func(l *Link) { l.Attached = false })
		cancel(err)
		<-done
	}()
	for {
		f, size, err := recv(stream)
		if err != nil {
			return "", errors.Join(err, context.Cause(ctx))
		}
		rest, err := s.take(number, f, size)
		if err != nil {
			return "", err
		}
		if bye := rest.GetGoodbye(); bye != nil {
			n.drop(bye.GetReason())
			return bye.GetRedirect(), errors.New(bye.GetReason())
		}
		n.frame(s, rest)
	}
}

// leave says goodbye and gives the driver some time to end the stream.
func (n *Node) leave(stream grpc.ClientStream, cancel context.CancelCauseFunc) bool {
	n.opt.Clock.AfterFunc(closeWait/2, func() { cancel(errors.New("the driver did not say goodbye")) })
	bye := &pb.Frame{Body: &pb.Frame_Goodbye{Goodbye: &pb.Goodbye{Reason: "it is closed"}}}
	return sendFrame(stream, bye) == nil && stream.CloseSend() == nil
}

// welcome takes the session that the driver grants, which is the old one or a new one.
func (n *Node) welcome(addr string, w *pb.Welcome, asked time.Time) (*session, uint64, error) {
	if !w.GetResumed() {
		n.drop("the driver has given the worker a new session")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.mu.session
	if w.GetResumed() != (s != nil) || s != nil && s.id != w.GetSession() {
		return nil, 0, fmt.Errorf("the driver goes on with session %d, which has ended here: %w", w.GetSession(), errFrame)
	}
	if s == nil {
		s = newSession(w.GetSession(), &n.opt, n.deliver)
		n.mu.session, n.mu.hub = s, w.GetHub()
		before, ran := n.mu.ran, make(chan struct{})
		n.mu.ran = ran
		n.wg.Go(func() { n.run(s, before, ran) })
	}
	number, ok := s.attach(w.GetReceived())
	if !ok {
		return nil, 0, fmt.Errorf("the driver has received message %d of session %d, which was not sent: %w", w.GetReceived(), s.id, errFrame)
	}
	n.mu.granted = asked
	if d := time.Duration(w.GetLeaseNanos()); d > 0 {
		n.mu.lease = d
	}
	if d := time.Duration(w.GetHeartbeatNanos()); d > 0 {
		n.mu.beat = d
	}
	n.rows.joined(addr)
	n.setLinkLocked(func(l *Link) {
		*l = Link{Driver: transport.NodeID(w.GetDriver()), Addr: addr, Session: s.id, Attached: true}
	})
	n.opt.Logger.Info("attached to the driver", "driver", w.GetDriver(), "address", addr, "session", s.id, "resumed", w.GetResumed())
	return s, number, nil
}

// frame takes in what the wire itself is told.
func (n *Node) frame(s *session, f *pb.Frame) {
	switch b := f.GetBody().(type) {
	case *pb.Frame_Pong:
		at := n.start.Add(time.Duration(b.Pong.GetNonce()))
		n.mu.Lock()
		if n.mu.session == s && at.After(n.mu.granted) && !at.After(n.opt.Clock.Now()) {
			n.mu.granted = at
		}
		n.mu.Unlock()
	case *pb.Frame_Peers:
		n.rows.update(b.Peers)
	default: // of a later minor version, or nothing but an ack
	}
}

// keepLease says that the worker is there, and ends the session when the driver has not
// answered for so long that it may take the worker for lost soon (X1).
func (n *Node) keepLease() {
	wait := time.Duration(0)
	for clock.Wait(n.ctx, n.opt.Clock, max(wait, time.Millisecond)) == nil {
		now := n.opt.Clock.Now()
		n.mu.Lock()
		s, left := n.mu.session, n.mu.lease*9/10-now.Sub(n.mu.granted)
		beat := n.mu.beat
		n.mu.Unlock()
		switch {
		case s == nil:
			wait = beat
		case left <= 0:
			n.drop("its lease has ended: no driver has answered")
			wait = beat
		default:
			s.beat(uint64(max(now.Sub(n.start), 1))) // 0 would be no question
			wait = min(beat, left)
		}
	}
}

// drop ends the session, if there is one.
func (n *Node) drop(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.mu.session
	if s == nil {
		return
	}
	n.mu.session = nil
	n.rows.joined("")
	s.end(gone("reach", n.mu.link.Driver, why))
	n.setLinkLocked(func(l *Link) { l.Session, l.Attached = 0, false })
	n.opt.Logger.Info("the session has ended", "session", s.id, "reason", why)
}

// run hands on what the driver says, and at last that its session has ended.
func (n *Node) run(s *session, before <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	if before != nil {
		<-before
	}
	s.run()
	n.Put(transport.Envelope{From: n.opt.ID, Message: transport.Reset{Reason: s.reason().Error()}}, n.ctx.Done(), nil)
}
