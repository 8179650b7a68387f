package sluice

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/transport/wire"
)

// secure lets the nodes of a cluster know each other by the certificates of a folder:
// workers join drivers, and both read each other's rows. "" is plain text, which the
// network takes on loopback alone.
func secure(o *wire.Options, dir string, log *slog.Logger) error {
	if dir == "" {
		return nil
	}
	t, err := certs.Load(dir, log)
	if err != nil {
		return batch.UserErrorf("%w", err)
	}
	if err := t.Self().Check(string(o.ID)); err != nil {
		return batch.UserErrorf("the certificate in %s: %w", dir, err)
	}
	o.ServerTLS = func() (*tls.Config, error) { return t.Server(certs.Driver, certs.Worker), nil }
	o.ClientTLS = func() (*tls.Config, error) { return t.ClientOfNow(certs.Driver, certs.Worker), nil }
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
