// Package postgres tries the sink, the source and the look-ups of package postgres, and
// whole queries, against a real server, where SLUICE_POSTGRES names the folder that
// `tools/postgres/server install` prints (`make test-postgres`). Engines and the server are
// killed, stopped and brought back while they work; then a client must find in the
// tables what the batch answer is.
package postgres
