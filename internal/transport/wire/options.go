package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
)

// Protocol is the version of what the two ends of a control stream say to each other.
// A driver refuses workers that speak another one.
const Protocol = 1

// Resources are what a worker tells of itself when it joins.
type Resources struct {
	Slots   int    // tasks at a time
	Memory  int64  // bytes that its tasks may take
	Version string // of the build
}

// Options configure either end; the fields say which end reads them.
type Options struct {
	// ID names the node: a driver's is shown to workers, a worker's is the NodeID that it
	// is sent messages and asked for rows by. Needed.
	ID transport.NodeID
	// Listen is the address, HOST:PORT, to listen on; port 0 takes a free one. A driver
	// listens for workers and for who reads its rows, a worker for the latter.
	Listen string
	// Listener is used in place of Listen, and closed with the end, if it is not nil.
	Listener net.Listener
	// Limit, if not nil, bounds the connections of the listener.
	Limit func(net.Listener) net.Listener
	// Advertise is where others reach Listen; default its own address. A wildcard
	// address has to be given one.
	Advertise string
	// ServerTLS and ClientTLS return what connections that are accepted and dialled are
	// secured with; they are asked anew for each, so that certificates can change. Nil is
	// plain text, on the loopback interface only (X4).
	ServerTLS, ClientTLS func() (*tls.Config, error)
	// Authorize, if not nil, is asked before each stream that somebody opens here; its
	// error refuses it.
	Authorize func(Caller) error
	// Expect, if not nil, is asked of each connection with TLS that is dialled whether its
	// other end is the node that was meant, "" for a driver; its error ends it.
	Expect func(id transport.NodeID, state tls.ConnectionState) error
	// Refused, if not nil, is told of each connection that comes to nothing because its end
	// does not show who it is.
	Refused func(remote net.Addr, err error)
	// Compression packs rows on their way from here. It pays where the network is slower than
	// what a core packs, and never to who reads over the loopback interface: those get rows
	// as they are, unless PackLocal is set, which is for tests and for measuring.
	Compression Compression
	PackLocal   bool

	// Join are the drivers' addresses, which a worker tries one after the other.
	Join []string
	// Resources are a worker's.
	Resources Resources
	// Incarnation tells this run of a worker from earlier ones of the same ID: a higher
	// number takes its place (X2). Default the time in nanoseconds; two machines that run
	// one ID with clocks apart need better.
	Incarnation uint64

	// Admit, if not nil, is asked by a driver before a worker joins; its error refuses the
	// worker, a *Redirect sends it elsewhere.
	Admit func(Member) error

	// Lease is how long an end counts as there without a word, default 3 s, and Heartbeat
	// how often each says that it is, default a sixth of that and at most 500 ms. Both are
	// the driver's to say. A shorter lease finds a partition sooner and takes a long pause
	// for one.
	Heartbeat, Lease time.Duration
	// Handshake is how long opening a connection or a stream may take; default 5 s.
	Handshake time.Duration
	// HoldMax is how long a driver keeps a worker waiting that comes while nobody leads;
	// default a fifth of Handshake.
	HoldMax time.Duration
	// RetryMax is the longest pause of a worker between two tries to reach a driver;
	// default 1 s, and a quarter where there are several. Pauses begin at a twentieth of a
	// second and double.
	RetryMax time.Duration

	// InboxMax is how many messages lie in an Inbox before those behind wait; default 1024.
	InboxMax int
	// WindowMax and WindowBytesMax bound the messages that are under way to one node;
	// defaults 1024 and 32 MiB. A message above the latter goes alone.
	WindowMax, WindowBytesMax int
	// MessageBytesMax is the largest message that is sent or taken; default 256 MiB.
	MessageBytesMax int
	// BatchBytesMax is the largest batch of rows that is taken, as it lies in memory;
	// default 1 GiB. Batches above 8 MiB are cut before they are sent.
	BatchBytesMax int64
	// StreamsMax is how many streams one connection may have open here; default 4096.
	StreamsMax uint32

	// Dial, if not nil, opens connections in place of the network.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Clock is the system's if it is nil.
	Clock clock.Clock
	// Logger is told of connections that come and go; nil is silent.
	Logger *slog.Logger
}

// Caller is who opens a stream.
type Caller struct {
	Addr net.Addr
	TLS  *tls.ConnectionState // nil without TLS
	Rows bool                 // it wants rows, else it is a worker that joins
}

// Redirect is an error with which a driver's Admit sends a worker to another one. An
// empty To says that there is none yet.
type Redirect struct{ To string }

// Error says where the worker is sent.
func (r *Redirect) Error() string {
	if r.To == "" {
		return "this driver does not lead, and knows nobody who does"
	}
	return "the driver at " + r.To + " leads"
}

func (o Options) withDefaults() Options {
	setDuration(&o.Lease, 3*time.Second)
	setDuration(&o.Heartbeat, min(500*time.Millisecond, o.Lease/6))
	setDuration(&o.Handshake, 5*time.Second)
	setDuration(&o.HoldMax, o.Handshake/5)
	setDuration(&o.RetryMax, time.Second)
	setInt(&o.InboxMax, 1024)
	setInt(&o.WindowMax, 1024)
	setInt(&o.WindowBytesMax, 32<<20)
	setInt(&o.MessageBytesMax, 256<<20)
	if o.BatchBytesMax <= 0 {
		o.BatchBytesMax = 1 << 30
	}
	if o.StreamsMax == 0 {
		o.StreamsMax = 4096
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	if o.Incarnation == 0 {
		o.Incarnation = uint64(o.Clock.Now().UnixNano())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDuration(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

func setInt(n *int, v int) {
	if *n <= 0 {
		*n = v
	}
}

// Validate names all that is wrong.
func (o Options) Validate() error {
	var errs []error
	if o.ID == "" {
		errs = append(errs, errors.New("a node needs an ID"))
	}
	if o.Listen == "" && o.Listener == nil {
		errs = append(errs, errors.New("an address to listen on is missing"))
	}
	if o.Lease > 0 && o.Heartbeat > 0 && o.Lease < 3*o.Heartbeat {
		errs = append(errs, fmt.Errorf("a lease of %s is too short for a heartbeat each %s: three have to fit", o.Lease, o.Heartbeat))
	}
	if err := o.Compression.validate(); err != nil {
		errs = append(errs, err)
	}
	if (o.ServerTLS == nil) != (o.ClientTLS == nil) {
		errs = append(errs, errors.New("TLS is for both sides: one of ServerTLS and ClientTLS is missing"))
	}
	return errors.Join(errs...)
}
