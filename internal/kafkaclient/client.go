package kafkaclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/sluice-stream/sluice/batch"
)

// dialTimeout bounds one attempt at a connection.
const dialTimeout = 10 * time.Second

// With returns the configuration of clients that have these options too, such as another
// way to dial. They come behind its own and take their place.
func (c Config) With(more ...kgo.Opt) Config {
	c.more = slices.Concat(c.more, more)
	return c
}

// Open makes a client, which connects when it is first asked something.
func (c Config) Open(more ...kgo.Opt) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID(c.client), kgo.RetryTimeout(c.Timeout),
		kgo.RequestTimeoutOverhead(min(c.Timeout, 10*time.Second)), kgo.DisableClientMetrics(),
	}
	dialer := &net.Dialer{Timeout: dialTimeout, Control: refuseLinkLocal}
	dial := dialer.DialContext
	if c.tls {
		config, err := c.tlsConfig()
		if err != nil {
			return nil, batch.UserErrorf("%s: %w", c.what, err)
		}
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			t := tls.Dialer{NetDialer: dialer, Config: config}
			return t.DialContext(ctx, network, address)
		}
	}
	opts = append(opts, kgo.Dialer(dial))
	if c.sasl {
		opts = append(opts, kgo.SASL(c.authenticate()))
	}
	cl, err := kgo.NewClient(slices.Concat(opts, c.more, more)...)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", c.what, err)
	}
	return cl, nil
}

// refuseLinkLocal looks at the address behind a name, just before it is dialled.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: %w", address, err)
	}
	if ip := at.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return fmt.Errorf("dial %s: brokers at link-local addresses are refused", address)
	}
	return nil
}

func (c Config) tlsConfig() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.hostname}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("option 'ssl.ca-file': %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("option 'ssl.ca-file': %q holds no certificate in PEM", c.ca)
		}
	}
	if c.cert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.cert, c.key)
			if err != nil {
				return nil, fmt.Errorf("options 'ssl.certificate-file' and 'ssl.key-file': %w", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		// Read at each connection, so that a renewed certificate is taken up.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return t, nil
}

func (c Config) authenticate() sasl.Mechanism {
	switch c.mechanism {
	case "oauthbearer":
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			token, err := c.token.Read()
			return oauth.Auth{Token: token}, err
		})
	case "plain":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := c.password.Read()
			return plain.Auth{User: c.user, Pass: pass}, err
		})
	}
	pair := func(context.Context) (scram.Auth, error) {
		pass, err := c.password.Read()
		return scram.Auth{User: c.user, Pass: pass}, err
	}
	if c.mechanism == "scram-sha-256" {
		return scram.Sha256(pair)
	}
	return scram.Sha512(pair)
}

// passing are errors that brokers call final, and that go away when a transactional ID
// is taken up again or the brokers have come to rest: to be fenced is to be asked who
// is right, which the target tells.
var passing = []*kerr.Error{
	kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions, kerr.UnknownServerError, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState,
	kerr.InvalidProducerIDMapping, kerr.OutOfOrderSequenceNumber, kerr.DuplicateSequenceNumber, kerr.UnknownProducerID, kerr.TransactionCoordinatorFenced, kerr.TransactionAbortable,
}

// Classify tells an error that may go away by itself from one that somebody has to mend.
func Classify(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if k, _ := batch.KindOf(err); k != batch.Internal {
		return err
	}
	if ke := (*kerr.Error)(nil); errors.As(err, &ke) && !ke.Retriable && !slices.ContainsFunc(passing, func(p *kerr.Error) bool { return p.Code == ke.Code }) {
		return &batch.Error{Kind: batch.User, Err: err}
	}
	return batch.ExternalError(err, true)
}
