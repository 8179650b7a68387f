// Package duckdb runs DuckDB beside a test: as a second oracle for SQL logic
// tests and as the foreign reader that has to find in Sluice's output files
// what Sluice says is there.
//
// DuckDB lives in a Python process of its own, which `make foreign` (a part of
// make test) installs; its interpreter is named by SLUICE_DUCKDB_PYTHON. A test
// that finds none is skipped. Values come back as the text that Sluice prints
// for them (internal/render), so that rows can be compared as they are.
//
// What the package never does: install anything, or share a process between
// two tests.
//
// Invariants:
//
//	D1  One request is answered by one answer; a process that breaks off, or
//	    answers something else, fails the request and every later one.
//	D2  Close ends the process and waits for it.
//
// Example:
//
//	db := duckdb.Start(t)
//	_, rows, err := db.Query(ctx, "SELECT count(*) FROM 'out/*.parquet'")
package duckdb
