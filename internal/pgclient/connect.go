package pgclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-stream/sluice/batch"
)

// keepAlive notices a database that went without a word in about half a minute.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

// Connect makes a connection, which the caller closes. name is shown to the
// database's administrators; settings are parameters of the session.
func (c Config) Connect(ctx context.Context, name string, settings map[string]string) (*pgx.Conn, error) {
	cc := c.conn.Copy()
	if c.password.Set() {
		pass, err := c.password.Read()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.what, err)
		}
		cc.Password = pass
	}
	cc.RuntimeParams["application_name"] = name
	cc.RuntimeParams["timezone"] = "UTC"
	cc.RuntimeParams["datestyle"] = "ISO, YMD"
	cc.RuntimeParams["intervalstyle"] = "postgres"
	cc.RuntimeParams["client_encoding"] = "UTF8"
	for k, v := range settings {
		cc.RuntimeParams[k] = v
	}
	d := &net.Dialer{KeepAliveConfig: keepAlive, Control: unacknowledged}
	cc.DialFunc = d.DialContext
	// Statements are few and kept by nobody: a pooler between may change backends.
	cc.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, Classify(fmt.Errorf("%s: connect to %s: %w", c.what, c.Where(), err))
	}
	return conn, nil
}

// unacknowledgedTime is after how long a connection is given up whose bytes nobody
// acknowledges.
const unacknowledgedTime = 30 * time.Second

// Close closes a connection that may hang.
func Close(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // whatever it says, the connection is gone
}

// Codes of errors that are asked for by name.
const (
	LockNotReady    = "55P03"
	UndefinedTable  = "42P01"
	NoPrivilege     = "42501"
	noSchema        = "3F000"
	uniqueViolation = "23505"
	duplicateTable  = "42P07"
	duplicateObject = "42710"
)

// MadeByOther reports whether CREATE TABLE IF NOT EXISTS met another session that made
// the table at the same time. How that is told depends on how far the other has come:
// the table is there, or its type, or its row in one of the catalog's indexes.
func MadeByOther(err error) bool {
	return Is(err, duplicateTable, duplicateObject, uniqueViolation)
}

// Is reports whether the database has refused something with one of the codes.
func Is(err error, codes ...string) bool {
	pe := (*pgconn.PgError)(nil)
	if !errors.As(err, &pe) {
		return false
	}
	for _, c := range codes {
		if pe.Code == c {
			return true
		}
	}
	return false
}

// passing are the classes of errors, and the errors, that may go away by themselves.
var passing = []string{"08", "40", "53", "57", "58", "XX", LockNotReady, "25006", "25P03"}

// Classify tells an error that may go away by itself from one that somebody has to
// mend, and adds what the database has said besides.
func Classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if k, _ := batch.KindOf(err); k != batch.Internal {
		return err
	}
	pe := (*pgconn.PgError)(nil)
	if !errors.As(err, &pe) {
		if pc := (*pgconn.ParseConfigError)(nil); errors.As(err, &pc) || mistrusted(err) {
			return &batch.Error{Kind: batch.User, Err: err}
		}
		return batch.ExternalError(err, true)
	}
	for _, more := range []string{pe.Detail, pe.Where, pe.Hint} {
		if more != "" && !strings.Contains(err.Error(), more) {
			err = fmt.Errorf("%w; %s", err, more)
		}
	}
	for _, p := range passing {
		if strings.HasPrefix(pe.Code, p) {
			return batch.ExternalError(err, true)
		}
	}
	return &batch.Error{Kind: batch.User, Err: err}
}

// mistrusted reports whether the database's certificate was not taken: it says so again
// however often it is asked. What sslmode=verify-ca finds comes as it is.
func mistrusted(err error) bool {
	verified := (*tls.CertificateVerificationError)(nil)
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verified) || errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid)
}

// unacknowledged sets TCP_USER_TIMEOUT where there is such a thing.
func unacknowledged(_, _ string, raw syscall.RawConn) error {
	var set error
	if err := raw.Control(func(fd uintptr) { set = setUserTimeout(fd, unacknowledgedTime) }); err != nil {
		return err
	}
	return set
}
