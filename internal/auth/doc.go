// Package auth decides who may do what over a listener: tokens with roles, the need that
// each route declares, names of hosts that are answered, where a listener may be open,
// and the log of what was asked.
//
// Invariants:
//
//	A1. A route has a declared need, or the handler is not made at all.
//	A2. A token is stored as its SHA-256 alone and compared in constant time. 256 random
//	    bits need no slow hash.
//	A3. Beyond loopback nothing listens without TLS and without authentication.
//	A4. What changes something is in the audit log before it is done; if it cannot be
//	    written there, it is not done.
//	A5. Tokens are read again when their file has changed, and nobody passes while it
//	    cannot be read.
//
// What it never does: write a token into a log, an error or an answer.
//
//	tokens, _ := auth.OpenTokens(dir + "/tokens")
//	guard := &auth.Guard{Tokens: tokens, Audit: auth.NewAudit(dir + "/audit.jsonl"), Hosts: hosts}
//	handler, err := guard.Handler([]auth.Route{
//		{Pattern: "GET /healthz", Need: auth.Public, Serve: health},
//		{Pattern: "POST /api/queries/{name}/stop", Need: auth.Operator, Serve: stop},
//	})
package auth
