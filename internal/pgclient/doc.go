// Package pgclient is what the PostgreSQL source and sink share: the options that say
// how to reach a database, the connection that is made of them, names, what a table
// looks like, values as text, and which errors may pass.
//
// A password is given by reference (package secret) and read when a connection is
// made. What it never does: connect before it is asked to, keep a secret or write one
// into an error, or put a name into a statement unquoted.
package pgclient
