// Package sluice runs SQL and DataFrames over bounded data and over streams,
// with the same plan and the same results, inside a Go program.
//
// A Session holds tables, views, settings and running queries. SQL goes in with
// Exec and SQL; DataFrames are built from either and are lazy:
//
//	s, err := sluice.NewSession(sluice.Options{})
//	defer s.Close()
//	df, err := s.SQL(ctx, "SELECT origin, count(*) AS n FROM flights GROUP BY origin")
//	rows, err := df.Collect(ctx)
//
// A streaming query is a DataFrame over an unbounded table that is written to a
// sink, or CREATE STREAMING QUERY in SQL. Its results appear exactly once, also
// across crashes, as long as it is started again with its checkpoint:
//
//	q, err := df.WriteTo("hot").Checkpoint("ck/hot").Trigger(sluice.Every(time.Second)).Start(ctx)
//	err = q.Await(ctx)
//
// This package wires implementations together and decides nothing: what a query
// means is decided in sql and planner, when its batches run and commit in
// microbatch and driver, how rows are computed in executor and worker.
package sluice
