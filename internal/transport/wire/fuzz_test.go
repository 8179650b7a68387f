package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/transporttest"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
	"github.com/sluice-stream/sluice/sources"
)

// script is a stream whose other end says what was written down for it.
type script struct {
	ctx  context.Context
	said [][]byte
	mu   struct {
		sync.Mutex
		sent int
	}
}

var _ grpc.ServerStream = (*script)(nil)

func (s *script) Context() context.Context     { return s.ctx }
func (s *script) SetHeader(metadata.MD) error  { return nil }
func (s *script) SendHeader(metadata.MD) error { return nil }
func (s *script) SetTrailer(metadata.MD)       {}

func (s *script) SendMsg(m any) error {
	b, err := codec{}.Marshal(m)
	if err != nil {
		return err
	}
	b.Free()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.sent++
	return nil
}

func (s *script) RecvMsg(m any) error {
	if len(s.said) == 0 {
		return io.EOF
	}
	m.(*raw).body, s.said = s.said[0], s.said[1:]
	return nil
}

// framesOf cuts bytes into frames, each with its length before it; of the last one what is there.
func framesOf(b []byte) (out [][]byte) {
	for len(b) > 0 && len(out) < 64 {
		f, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return append(out, b)
		}
		out, b = append(out, f), b[n:]
	}
	return out
}

func joined(f testing.TB, frames ...*pb.Frame) (out []byte) {
	for _, x := range frames {
		b, err := proto.Marshal(x)
		if err != nil {
			f.Fatal(err)
		}
		out = protowire.AppendBytes(out, b)
	}
	return out
}

// talk is what either end may say, in order.
func talk(f testing.TB) []*pb.Frame {
	e, err := envelope("w", "q", transport.Cancel{})
	if err != nil {
		f.Fatal(err)
	}
	return []*pb.Frame{
		{Seq: 1, Body: &pb.Frame_Envelope{Envelope: e}}, {Body: &pb.Frame_Ping{Ping: &pb.Ping{Nonce: 9}}}, {Body: &pb.Frame_Pong{Pong: &pb.Pong{Nonce: 9}}},
		{Seq: 2, Ack: 1, Body: &pb.Frame_Status{Status: &pb.Status{Draining: true}}}, {Seq: 2}, {Ack: 1 << 60},
		{Seq: 3, Body: &pb.Frame_Peers{Peers: &pb.Peers{All: true, Peers: []*pb.Peer{{Node: "w2", Address: "w2:1"}, {Node: "w"}}, Gone: []string{"w3", "w2"}}}},
		{Body: &pb.Frame_Goodbye{Goodbye: &pb.Goodbye{Reason: "enough"}}}, {Seq: 1 << 63},
	}
}

func hello() *pb.Hello {
	return &pb.Hello{Protocol: Protocol, Node: "w", Incarnation: 1, Address: "w:1", Slots: 2, Memory: 3, Version: "v"}
}

func nobody(context.Context, string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
}

// FuzzControl: whatever a worker says on two streams, one after the other, the driver takes
// it or ends the stream; nothing panics or hangs, and nobody is a member whose stream is gone.
func FuzzControl(f *testing.F) {
	first := joined(f, append([]*pb.Frame{{Body: &pb.Frame_Hello{Hello: hello()}}}, talk(f)...)...)
	again := hello()
	again.Hub, again.Session, again.Received = 1, 1, 0
	f.Add(first, joined(f, append([]*pb.Frame{{Body: &pb.Frame_Hello{Hello: again}}}, talk(f)...)...))
	f.Add(first, joined(f, &pb.Frame{Body: &pb.Frame_Hello{Hello: &pb.Hello{Protocol: Protocol + 1}}}))
	f.Add(first[:len(first)/2], []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		h := &Hub{opt: Options{ID: "d", Dial: nobody, WindowMax: 4, InboxMax: 2, MessageBytesMax: 1 << 20}.withDefaults(), number: 1}
		h.ctx, h.cancel = context.WithCancel(t.Context())
		h.mu.members, h.mu.runs = map[transport.NodeID]*member{}, map[transport.NodeID]chan struct{}{}
		h.mu.changed, h.ends.byID = make(chan struct{}), map[transport.NodeID]*Endpoint{}
		h.rows = newRows(&h.opt, func(transport.NodeID) Serve { return nil })
		q, err := h.Join("q")
		if err != nil {
			t.Fatal(err)
		}
		for _, said := range [][]byte{a, b} {
			stream := &script{said: framesOf(said)}
			var end context.CancelFunc
			stream.ctx, end = context.WithCancel(h.ctx)
			_ = h.control(stream) // what it says of it is the worker's
			end()
		}
		for _, m := range h.Members() {
			if m.ID == "" || m.Addr == "" || m.ID == "q" || len(m.ID) > nameMax || m.Resources.Slots < 0 {
				t.Errorf("%+v has joined", m)
			}
		}
		if len(q.Inbox()) > 2 {
			t.Errorf("%d messages in an inbox for 2", len(q.Inbox()))
		}
		if err := h.closeParts(); err != nil {
			t.Fatal(err)
		}
	})
}

// closeParts ends what FuzzControl has made of a hub: all but its server.
func (h *Hub) closeParts() error {
	h.mu.Lock()
	for _, m := range h.membersLocked() {
		h.loseLocked(m, "the driver is closed")
	}
	h.mu.Unlock()
	h.rows.close()
	h.cancel()
	h.wg.Wait()
	return nil
}

// FuzzDriver: whatever a driver says, a worker takes it or ends the stream.
func FuzzDriver(f *testing.F) {
	welcome := &pb.Welcome{Protocol: Protocol, Driver: "d", Hub: 1, Session: 1, HeartbeatNanos: 1e9, LeaseNanos: 3e9}
	f.Add(joined(f, append([]*pb.Frame{{Body: &pb.Frame_Welcome{Welcome: welcome}}}, talk(f)...)...))
	f.Add(joined(f, &pb.Frame{Body: &pb.Frame_Refused{Refused: &pb.Refused{Reason: "no", Redirect: "d2:1", Final: true}}}))
	v := &values{}
	for _, m := range kinds {
		x := reflect.New(reflect.TypeOf(m)).Elem()
		v.fill(&testing.T{}, x, "")
		e, err := envelope("q", "w", x.Interface().(transport.Message))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(joined(f, &pb.Frame{Body: &pb.Frame_Welcome{Welcome: welcome}}, &pb.Frame{Seq: 1, Body: &pb.Frame_Envelope{Envelope: e}}))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		o := Options{ID: "w", Dial: nobody, WindowMax: 4, InboxMax: 2, MessageBytesMax: 1 << 20}.withDefaults()
		n := &Node{Port: transport.NewPort(o.ID, o.InboxMax), opt: o, start: o.Clock.Now()}
		n.ctx, n.cancel = context.WithCancel(t.Context())
		n.mu.changed = make(chan struct{})
		n.rows = newRows(&n.opt, func(transport.NodeID) Serve { return nil })
		stream := &script{ctx: n.ctx, said: framesOf(said)}
		for {
			fr, size, err := recv(stream)
			if err != nil {
				break
			}
			if w := fr.GetWelcome(); w != nil {
				_, _, _ = n.welcome("d:1", w, o.Clock.Now())
				continue
			}
			n.mu.Lock()
			s := n.mu.session
			n.mu.Unlock()
			if s == nil {
				continue
			}
			rest, err := s.take(1, fr, size)
			if err != nil {
				break
			}
			if rest != nil {
				n.frame(s, rest)
			}
		}
		if len(n.Inbox()) > o.InboxMax {
			t.Errorf("%d messages in an inbox for %d", len(n.Inbox()), o.InboxMax)
		}
		n.drop("enough")
		n.cancel()
		n.rows.close()
		n.wg.Wait()
	})
}

// FuzzTicket: whatever is asked for, rows are served to a ticket that is one, and to no other.
func FuzzTicket(f *testing.F) {
	for _, ref := range []transport.StreamRef{{}, {Key: "q", Batch: 4, Stage: 1, Task: 2, Partition: 3, Follow: true}} {
		b, err := proto.Marshal(refOut("w", ref))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ticketOut(b))
	}
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{})
	rec := transporttest.Wide(memory.DefaultAllocator, 3)
	defer rec.Release()
	errRefused := errors.New("there are no such rows")
	f.Fuzz(func(t *testing.T, b []byte) {
		asked := false
		o := Options{ID: "w"}.withDefaults()
		r := newRows(&o, func(id transport.NodeID) Serve {
			if id != "w" {
				return nil
			}
			return func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
				asked = true
				if strings.Contains(ref.Key, "x") {
					return nil, errRefused
				}
				return transporttest.NewReader(nil, rec), nil
			}
		})
		defer r.close()
		stream := &script{ctx: t.Context(), said: [][]byte{b}}
		err := r.doGet(stream)
		if _, bad := ticketIn(b); (bad != nil || !asked) && (err == nil || stream.mu.sent > 0) {
			t.Errorf("rows without a ticket: %v %v", bad, err)
		}
	})
}
