// Package certs makes and checks the certificates with which the nodes of a cluster
// know each other: an authority of the cluster's own, certificates that say what a node
// is, and TLS configurations that hold every connection to it.
//
// A node's folder (`--tls-dir`) has three files, named as in a Kubernetes secret of type
// kubernetes.io/tls, so that such a secret can be mounted as it is:
//
//	ca.crt   the authorities that are trusted; during a change of authority, both
//	tls.crt  the node's certificate
//	tls.key  its private key, mode 0600
//
// What a node is stands in its certificate as a URI, sluice://CLUSTER/ROLE/ID. A
// certificate may hold several IDs of one role and one cluster.
//
// Invariants:
//
//	K1. Nothing older than TLS 1.3 is spoken, and no authority of the system is trusted.
//	K2. A connection says which roles the other end may have; without a certificate of one
//	    of them it is refused, whoever signed it.
//	K3. The files are read again when they have changed: a new certificate counts from
//	    the next handshake on, without a restart. Files that do not fit together change nothing.
//	K4. A session is never resumed, so that every connection is checked by what the files say now.
//
// What it never does: write a private key into an error or a log.
//
//	t, err := certs.Load(dir, logger)
//	l = tls.NewListener(l, t.Server(certs.Worker, certs.Driver))  // who may connect
//	conn := tls.Client(c, t.Client("d1.example:7070", certs.Driver)) // who must answer
//	peer, err := certs.Peer(conn.ConnectionState())                // who it is
package certs
