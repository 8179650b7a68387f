// Package inproc is a transport between nodes of one process: a driver and its
// workers, or several of each in a test.
//
// Messages are handed over as they are, in the order in which each sender sent
// them. Every inbox is a bounded queue: a sender waits while the receiver's is
// full, so a slow node slows its peers down and memory stays flat. A node must
// therefore keep reading its inbox while it sends. The driver bounds the tasks
// in flight well below the queue, so that it never has to wait.
//
// What the package never does: drop, repeat or reorder messages (internal
// simulations do that), or start a goroutine.
//
// Example:
//
//	net := inproc.New(inproc.Options{})
//	d, err := net.Join("driver")
//	w, err := net.Join("worker")
//	err = d.Send(ctx, "worker", transport.Undeploy{Key: "k"})
//	env := <-w.Inbox()
package inproc
