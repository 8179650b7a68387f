// Package transport carries messages between a driver and its workers, and rows
// between workers. The control plane speaks in the types of package batch; rows
// are fetched by reference. Messages may be dropped, delayed or repeated, never
// changed; both ends are written for that.
package transport
