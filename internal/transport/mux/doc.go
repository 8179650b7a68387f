// Package mux lets several protocols share one port, so that a driver has one address for
// its workers and for the other drivers.
//
// With TLS the client says by ALPN what it wants to speak; the handshake is done here,
// once, and who takes the connection is given the finished *tls.Conn. Without TLS the
// first bytes tell.
//
// Invariants:
//
//	P1: a connection is handed on only when what it speaks is known, and who admits it has
//	    seen its certificate.
//	P2: who says nothing, or little by little, is let go after Wait, and no more than
//	    GreetingsMax, of one address GreetingsOfHost, are waited for at a time: those above
//	    are closed at once, and nobody waits behind them.
//
// What it never does: decide whether a port may be plain (its listener's owner does), or
// read more than the few bytes that tell.
//
// Example:
//
//	m := mux.Serve(listener, mux.Options{TLS: config, Protocols: []mux.Protocol{{ALPN: "h2", Head: "PRI "}, {ALPN: "other", Head: "OTHR"}}})
//	go server.Serve(m.Listener("h2"))
//	defer m.Close()
package mux
