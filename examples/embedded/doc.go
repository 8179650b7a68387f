// Command embedded runs a streaming query inside a Go program: orders come in
// through a channel, revenue a minute and a country goes out once each minute is
// complete, and a lookup that Go code does is a function of SQL.
//
//	go run ./examples/embedded
package main
