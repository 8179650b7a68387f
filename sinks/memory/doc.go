// Package memory is a sink that keeps results in the process, for tests, for the
// Go API and for looking at small results.
//
// A Table holds what a reader of the result would see: in append mode all rows,
// in complete mode those of the last batch, in update and changelog mode the rows
// left when each change has been applied, by the result's key or, without one, by
// the whole row. Besides, it remembers the last batches as they came.
//
// Tables live as long as the program. A query that goes on after a crash finds an
// empty one: changes of rows that it does not have are then applied as far as
// they can be.
//
// Example:
//
//	tables := memory.NewTables()
//	registry := sinks.NewRegistry(memory.Connector(tables))
//	..
//	hot, _ := tables.Get("hot")
//	recs := hot.Snapshot()
package memory
