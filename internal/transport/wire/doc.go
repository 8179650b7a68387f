// Package wire is a transport between processes. A Hub is the driver's end, a Node is a
// worker's, and each serves rows to the others.
//
// Control is one gRPC stream for each worker, which the worker opens: ordered, both ways,
// with messages of package wirepb. What is sent belongs to a session. A session outlives its
// stream: when a connection breaks, the worker dials again and both ends repeat what the
// other has not taken in, so that within a session nothing is lost, repeated or out of
// order. It ends when one end has heard nothing of the other for a lease, when the worker's
// process is seen to be gone, or when either says goodbye. Then the driver's endpoints are
// told Lost and the worker is told Reset, each behind all that came before.
//
// Rows are Arrow Flight: a DoGet whose ticket is a StreamRef, streamed with the flow control
// of HTTP/2, with a CRC32C over every message in its app_metadata, since TLS does not find
// the mistakes of the ends. Any Flight client can read them.
//
// Invariants:
//
//	X1: the worker's lease has ended before the driver's has: the worker counts from when it
//	    asked the question that was answered, the driver from when it heard the question.
//	X2: of two processes with one node's name the one with the higher incarnation is the
//	    node; the other is refused for good.
//	X3: a queue has a bound. Who sends waits while WindowMax messages or WindowBytesMax are
//	    on their way, and a receiver that is sent more ends the session.
//	X4: nothing is listened to or dialled beyond the loopback interface without TLS.
//	X5: where a peer serves rows is known before a message that names it arrives.
//	X6: no length that came over the network is believed before it was held to what is there.
//
// What the package never does: decide what becomes of the work of a lost worker, or know
// what a plan is.
//
// Example:
//
//	hub, err := wire.Listen(ctx, wire.Options{ID: "d1", Listen: "127.0.0.1:7070"})
//	end, err := hub.Join("driver/q1") // a transport.Transport for one query
//	go hub.Watch(ctx, func(e wire.Event) { fmt.Println(e.Change, e.Member.ID) })
//
//	node, err := wire.Join(ctx, wire.Options{ID: "w1", Listen: "127.0.0.1:0", Join: []string{"127.0.0.1:7070"}})
//	w := worker.New(node, connectors, worker.Options{})
package wire
