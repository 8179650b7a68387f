package sluice

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/wire"
)

// nodeProtection says how a node's listener beyond loopback is to be protected.
const nodeProtection = "give certificates with --tls-dir (sluice certs makes them)"

// secure lets the nodes of a cluster know each other by the certificates of a folder:
// workers join drivers, and both read each other's rows. "" is plain text, which is
// refused beyond loopback before anything listens.
// Who is refused stands in the audit log, if that is a name.
func secure(o *wire.Options, dir, auditLog string, log *slog.Logger) error {
	if err := auth.CheckListen("--listen", o.Listen, auth.Exposure{TLS: dir != "", Auth: dir != ""}, nodeProtection); err != nil {
		return batch.UserErrorf("%w", err)
	}
	o.Limit = auth.LimitNodes
	if dir == "" {
		return plainJoin(o.Join)
	}
	t, err := certs.Load(dir, log)
	if err != nil {
		return batch.UserErrorf("%w", err)
	}
	if err := t.Self().Check(string(o.ID)); err != nil {
		return batch.UserErrorf("the certificate in %s: %w", dir, err)
	}
	audit := auditOf(auditLog)
	o.Refused = func(remote net.Addr, why error) {
		if err := audit.Connection("--listen", remote.String(), why); err != nil {
			log.Error("the audit log cannot be written", "error", err)
		}
	}
	o.ServerTLS = func() (*tls.Config, error) { return t.Server(certs.Driver, certs.Worker), nil }
	o.ClientTLS = func() (*tls.Config, error) { return t.ClientOfNow(certs.Driver, certs.Worker), nil }
	o.Expect = func(id transport.NodeID, s tls.ConnectionState) error {
		who, err := certs.Peer(s)
		switch {
		case err != nil:
			return err
		case id == "" && who.Role != certs.Driver:
			return fmt.Errorf("a %s answers for the driver", who.Role)
		case id == "":
			return nil
		case who.Role != certs.Worker:
			return fmt.Errorf("a %s answers for worker %s", who.Role, id)
		default:
			return who.Check(string(id))
		}
	}
	o.Admit = func(m wire.Member) error {
		if m.TLS == nil {
			return errors.New("it shows no certificate")
		}
		who, err := certs.Peer(*m.TLS)
		if err == nil && who.Role != certs.Worker {
			err = fmt.Errorf("a %s joins as a worker", who.Role)
		}
		if err == nil {
			err = who.Check(string(m.ID))
		}
		if err != nil {
			return batch.UserErrorf("worker %s is refused: %w", m.ID, err)
		}
		return nil
	}
	return nil
}

// auditOf is nil, which keeps nothing, without a name.
func auditOf(name string) *auth.Audit {
	if name == "" {
		return nil
	}
	return auth.NewAudit(name)
}

// plainJoin refuses drivers that would be spoken to over a network without TLS: a worker
// would look for them in vain.
func plainJoin(join []string) error {
	for _, addr := range join {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return batch.UserErrorf("--join %s: want HOST:PORT: %w", addr, err)
		}
		if !auth.Loopback(host) {
			return batch.UserErrorf("--join %s: without TLS only a loopback address such as 127.0.0.1 is spoken to: %s", addr, nodeProtection)
		}
	}
	return nil
}
