package kafkaclient

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/secret"
)

var (
	optBootstrap = options.Option{Key: "bootstrap.servers", Kind: options.Text, Required: true, Doc: "Brokers to ask first, as host:port, separated by commas."}
	optProtocol  = options.Option{Key: "security.protocol", Kind: options.Enum, Default: "plaintext", Values: []string{"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"}, Doc: "Whether the connection is encrypted (ssl) and whether the client says who it is (sasl)."}
	optMechanism = options.Option{Key: "sasl.mechanism", Kind: options.Enum, Values: []string{"plain", "scram-sha-256", "scram-sha-512", "oauthbearer"}, Doc: "How the client says who it is."}
	optUser      = options.Option{Key: "sasl.username", Kind: options.Text, Doc: "The name for PLAIN and SCRAM."}
	optPassword  = options.Option{Key: "sasl.password", Kind: options.Text, Doc: "Where the password for PLAIN and SCRAM is: '${env:NAME}' or '${file:PATH}'."}
	optToken     = options.Option{Key: "sasl.token", Kind: options.Text, Doc: "Where the token for OAUTHBEARER is: '${env:NAME}' or '${file:PATH}'; it is read at each connection."}
	optCA        = options.Option{Key: "ssl.ca-file", Kind: options.Text, Doc: "PEM file with the certificates that the brokers' are checked against; by default the system's."}
	optCert      = options.Option{Key: "ssl.certificate-file", Kind: options.Text, Doc: "PEM file with the client's own certificate, where brokers ask for one."}
	optKey       = options.Option{Key: "ssl.key-file", Kind: options.Text, Doc: "PEM file with the key of 'ssl.certificate-file'."}
	optServer    = options.Option{Key: "ssl.server-name", Kind: options.Text, Doc: "The name that the brokers' certificates are checked for; by default the host that is connected to."}
	optClient    = options.Option{Key: "client-id", Kind: options.Text, Default: "sluice", Doc: "The name under which brokers log and limit the client."}
	optTimeout   = options.Option{Key: "request-timeout", Kind: options.Duration, Default: "30s", Doc: "How long a request is tried again while brokers cannot be reached or change leaders."}
)

// Options are those of a connection, for a connector's list.
func Options() []options.Option {
	return []options.Option{optBootstrap, optProtocol, optMechanism, optUser, optPassword, optToken, optCA, optCert, optKey, optServer, optClient, optTimeout}
}

// Config is a checked set of connection options.
type Config struct {
	Brokers []string
	Timeout time.Duration

	what, client            string
	tls, sasl               bool
	mechanism, user         string
	password, token         secret.Ref
	ca, cert, key, hostname string
	more                    []kgo.Opt
}

// Parse checks the options of the table that what names. It opens nothing.
func Parse(what string, m options.Map) (Config, error) {
	c := Config{
		what: what, client: m.Get(optClient), Timeout: m.Duration(optTimeout),
		mechanism: strings.ToLower(m.Get(optMechanism)), user: m.Get(optUser),
		ca: m.Get(optCA), cert: m.Get(optCert), key: m.Get(optKey), hostname: m.Get(optServer),
	}
	protocol := strings.ToLower(m.Get(optProtocol))
	c.tls, c.sasl = strings.HasSuffix(protocol, "ssl"), strings.HasPrefix(protocol, "sasl")
	for b := range strings.SplitSeq(m.Get(optBootstrap), ",") {
		if b = strings.TrimSpace(b); b != "" {
			c.Brokers = append(c.Brokers, b)
		}
	}
	slices.Sort(c.Brokers)
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if len(c.Brokers) == 0 {
		fault("option 'bootstrap.servers' is empty")
	}
	if c.Timeout < time.Second {
		fault("option 'request-timeout' = '%s': want at least a second", m.Get(optTimeout))
	}
	var err error
	if c.password, err = secret.New(optPassword, m); err != nil {
		faults = append(faults, err.Error())
	}
	if c.token, err = secret.New(optToken, m); err != nil {
		faults = append(faults, err.Error())
	}
	c.checkSASL(fault)
	if !c.tls && cmp.Or(c.ca, c.cert, c.key, c.hostname) != "" {
		fault("the options 'ssl.*' need 'security.protocol' = 'ssl' or 'sasl_ssl'")
	}
	if (c.cert == "") != (c.key == "") {
		fault("'ssl.certificate-file' and 'ssl.key-file' need each other")
	}
	if len(faults) > 0 {
		return c, batch.UserErrorf("%s: %s", what, strings.Join(faults, "; "))
	}
	return c, nil
}

func (c Config) checkSASL(fault func(string, ...any)) {
	if !c.sasl {
		if c.mechanism != "" || c.user != "" || c.password.Set() || c.token.Set() {
			fault("the options 'sasl.*' need 'security.protocol' = 'sasl_ssl' or 'sasl_plaintext'")
		}
		return
	}
	switch c.mechanism {
	case "":
		fault("'security.protocol' with sasl needs 'sasl.mechanism'")
	case "oauthbearer":
		if !c.token.Set() {
			fault("'sasl.mechanism' = 'oauthbearer' needs 'sasl.token'")
		}
	default:
		if c.user == "" || !c.password.Set() {
			fault("'sasl.mechanism' = '%s' needs 'sasl.username' and 'sasl.password'", c.mechanism)
		}
	}
}
