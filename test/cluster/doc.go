// Package cluster runs a driver and workers as processes of their own, ends them in all
// ways that there are while a query with state runs on them, and compares what the query
// has written with what it was given.
package cluster
