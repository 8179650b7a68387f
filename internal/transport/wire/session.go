package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// The numbers of Frame's fields that are written by hand.
const (
	fieldSeq = 1
	fieldAck = 2
)

var (
	errStale    = errors.New("another stream has taken the session over")
	errOverflow = errors.New("the other end sends more than it may, or takes in too little")
)

// session is what two nodes have told each other and not confirmed. It outlives streams:
// what the other end has not taken in is sent again on the next one.
type session struct {
	id      uint64
	opt     *Options
	deliver deliver
	wake    chan struct{} // for who writes the stream
	arrived chan struct{} // for run
	gone    chan struct{} // closed at the end

	mu struct {
		sync.Mutex
		stream uint64 // which may use the session

		out      []queued // not confirmed; the first one is number acked+1
		outBytes int
		acked    uint64
		sent     int           // of out, on this stream
		room     chan struct{} // closed when out gets shorter; nil if nobody waits

		in       []*pb.Envelope // taken in, the first one is number taken+1; nil for what is no message
		inBytes  int            // taken in since told
		received uint64
		taken    uint64
		told     uint64 // what the other end has been told of taken
		busy     bool   // run is at the first of in, or has not begun

		ping, pong uint64 // to be sent, if not 0
		ended      error
	}
}

// queued is a frame without its head.
type queued struct{ body []byte }

// deliver hands a message to who it is for. It waits for room until stop is closed; with
// a nil stop it does not wait, and returns false if there is no room.
type deliver func(e *pb.Envelope, stop <-chan struct{}) bool

func newSession(id uint64, opt *Options, deliver deliver) *session {
	s := &session{
		id: id, opt: opt, deliver: deliver,
		wake: make(chan struct{}, 1), arrived: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	s.mu.busy = true // until run: the session before may have something to hand on
	return s
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send queues a frame and waits while too much is under way.
func (s *session) send(ctx context.Context, f *pb.Frame) error {
	body, err := proto.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if len(body) > s.opt.MessageBytesMax {
		return fmt.Errorf("a message of %d bytes is above the limit of %d", len(body), s.opt.MessageBytesMax)
	}
	for {
		s.mu.Lock()
		if s.mu.ended != nil {
			err := s.mu.ended
			s.mu.Unlock()
			return err
		}
		n := len(s.mu.out)
		if n == 0 || n < s.opt.WindowMax && s.mu.outBytes+len(body) <= s.opt.WindowBytesMax {
			s.pushLocked(body)
			s.mu.Unlock()
			poke(s.wake)
			return nil
		}
		if s.mu.room == nil {
			s.mu.room = make(chan struct{})
		}
		room := s.mu.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-s.gone:
		case <-ctx.Done():
			return fmt.Errorf("%d messages are under way: %w", n, context.Cause(ctx))
		}
	}
}

// tell queues a frame of the wire's own without waiting. It reports false if so many
// are queued that the other end cannot be there in earnest.
func (s *session) tell(f *pb.Frame) bool {
	body, err := proto.Marshal(f)
	if err != nil {
		return false // its text is not UTF-8; names are checked when nodes join
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.out) >= 2*s.opt.WindowMax {
		return false
	}
	if s.mu.ended == nil {
		s.pushLocked(body)
		poke(s.wake)
	}
	return true
}

func (s *session) pushLocked(body []byte) {
	s.mu.out = append(s.mu.out, queued{body})
	s.mu.outBytes += len(body)
}

// attach hands the session to a stream of which the other end says what it has
// received before. It fails if that cannot be.
func (s *session) attach(received uint64) (stream uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended != nil || received < s.mu.acked || received > s.mu.acked+uint64(len(s.mu.out)) {
		return 0, false
	}
	s.mu.stream++
	s.mu.sent = int(received - s.mu.acked)
	s.mu.told, s.mu.ping, s.mu.pong = 0, 0, 0
	poke(s.wake)
	return s.mu.stream, true
}

// end lets everybody go who waits for the session, with err. The first call counts.
func (s *session) end(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended != nil {
		return false
	}
	s.mu.ended = err
	s.mu.out, s.mu.outBytes, s.mu.in = nil, 0, nil
	close(s.gone)
	return true
}

func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.ended
}

func (s *session) got() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.received
}

// beat has a ping sent.
func (s *session) beat(nonce uint64) {
	s.mu.Lock()
	s.mu.ping = nonce
	s.mu.Unlock()
	poke(s.wake)
}

// write sends what is queued on a stream until that or the session ends, or ctx.
func (s *session) write(ctx context.Context, stream uint64, send func(any) error) error {
	for {
		m, err := s.next(stream)
		if err != nil {
			return err
		}
		if m != nil {
			if err := send(m); err != nil {
				return err
			}
			continue
		}
		select {
		case <-s.wake:
		case <-s.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next returns what is to be sent now: small answers first, then messages, each with
// what has been taken in; nil is nothing.
func (s *session) next(stream uint64) (*raw, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.ended != nil:
		return nil, s.mu.ended
	case s.mu.stream != stream:
		poke(s.wake) // it was meant for the other stream
		return nil, errStale
	}
	m := &raw{}
	switch {
	case s.mu.pong != 0:
		m.body = marshalSmall(&pb.Frame{Body: &pb.Frame_Pong{Pong: &pb.Pong{Nonce: s.mu.pong}}})
		s.mu.pong = 0
	case s.mu.ping != 0:
		m.body = marshalSmall(&pb.Frame{Body: &pb.Frame_Ping{Ping: &pb.Ping{Nonce: s.mu.ping}}})
		s.mu.ping = 0
	case s.mu.sent < len(s.mu.out):
		m.body = s.mu.out[s.mu.sent].body
		s.mu.sent++
		m.head = protowire.AppendVarint(protowire.AppendTag(nil, fieldSeq, protowire.VarintType), s.mu.acked+uint64(s.mu.sent))
	case s.dueLocked():
	default:
		return nil, nil
	}
	m.head = protowire.AppendVarint(protowire.AppendTag(m.head, fieldAck, protowire.VarintType), s.mu.taken)
	s.mu.told, s.mu.inBytes = s.mu.taken, 0
	return m, nil
}

// marshalSmall encodes a frame of numbers, which cannot fail.
func marshalSmall(f *pb.Frame) []byte {
	b, _ := proto.Marshal(f)
	return b
}

// tellBytes is after how many bytes the other end is told at the latest that they were taken.
const tellBytes = 1 << 20

// dueLocked reports whether the other end may come to wait for being told what was taken.
func (s *session) dueLocked() bool {
	return s.mu.taken-s.mu.told >= uint64(max(s.opt.WindowMax/4, 1)) ||
		s.mu.taken > s.mu.told && s.mu.inBytes >= min(s.opt.WindowBytesMax/4, tellBytes)
}

// take works a frame of a stream in. It returns what is not the session's own affair.
func (s *session) take(stream uint64, f *pb.Frame, size int) (*pb.Frame, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.ended != nil:
		return nil, s.mu.ended
	case s.mu.stream != stream:
		return nil, errStale
	}
	if err := s.ackLocked(f.GetAck()); err != nil {
		return nil, err
	}
	if p := f.GetPing(); p != nil {
		s.mu.pong = p.GetNonce()
		poke(s.wake)
		return nil, nil
	}
	seq := f.GetSeq()
	switch {
	case seq == 0:
		return f, nil
	case seq <= s.mu.received:
		return nil, nil // it came before the last stream broke
	case seq != s.mu.received+1:
		return nil, fmt.Errorf("message %d came behind %d: %w", seq, s.mu.received, errFrame)
	case len(s.mu.in) > 2*s.opt.WindowMax:
		return nil, errOverflow
	}
	s.mu.received++
	s.mu.inBytes += size
	e := f.GetEnvelope()
	if len(s.mu.in) == 0 && !s.mu.busy && (e == nil || s.deliver(e, nil)) {
		s.mu.taken++
		if s.dueLocked() {
			poke(s.wake)
		}
	} else {
		s.mu.in = append(s.mu.in, e)
		poke(s.arrived)
	}
	if e != nil {
		return nil, nil
	}
	return f, nil
}

func (s *session) ackLocked(ack uint64) error {
	if ack <= s.mu.acked {
		return nil
	}
	n := ack - s.mu.acked
	if n > uint64(s.mu.sent) {
		return fmt.Errorf("message %d is confirmed, %d were sent: %w", ack, s.mu.acked+uint64(s.mu.sent), errFrame)
	}
	for i := range s.mu.out[:n] {
		s.mu.outBytes -= len(s.mu.out[i].body)
		s.mu.out[i] = queued{}
	}
	s.mu.out = s.mu.out[n:]
	if len(s.mu.out) == 0 {
		s.mu.out = nil // what lies before is let go
	}
	s.mu.acked = ack
	s.mu.sent -= int(n)
	if s.mu.room != nil {
		close(s.mu.room)
		s.mu.room = nil
	}
	return nil
}

// run hands on what could not be handed on at once, until the session ends.
func (s *session) run() {
	for {
		e, ok := s.first()
		if !ok {
			select {
			case <-s.arrived:
				continue
			case <-s.gone:
				return
			}
		}
		if e != nil {
			s.deliver(e, s.gone)
		}
		s.mu.Lock()
		if s.mu.ended == nil {
			s.mu.in[0] = nil
			s.mu.in = s.mu.in[1:]
			s.mu.taken++
			if s.dueLocked() {
				poke(s.wake)
			}
		}
		s.mu.Unlock()
	}
}

func (s *session) first() (e *pb.Envelope, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.busy = false
	if len(s.mu.in) == 0 || s.mu.ended != nil {
		return nil, false
	}
	s.mu.busy = true
	return s.mu.in[0], true
}

// idle reports whether the session goes on and no other stream has come for it.
func (s *session) idle(stream uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.ended == nil && s.mu.stream == stream
}
