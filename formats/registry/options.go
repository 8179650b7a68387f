package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/secret"
)

// The options of a registry.
var (
	optURL      = options.Option{Key: "schema-registry.url", Kind: options.Text, Doc: "Where the Schema Registry is: one or more addresses such as http://127.0.0.1:8081, separated by commas."}
	optUser     = options.Option{Key: "schema-registry.username", Kind: options.Text, Doc: "The name under which the registry is asked (basic authentication)."}
	optPassword = options.Option{Key: "schema-registry.password", Kind: options.Text, Doc: "Where the password for 'schema-registry.username' is: '${env:NAME}' or '${file:PATH}'."}
	optToken    = options.Option{Key: "schema-registry.token", Kind: options.Text, Doc: "Where a bearer token is: '${env:NAME}' or '${file:PATH}'; it is read at each request."}
	optCA       = options.Option{Key: "schema-registry.ssl.ca-file", Kind: options.Text, Doc: "PEM file with the certificates that the registry's is checked against; by default the system's."}
	optCert     = options.Option{Key: "schema-registry.ssl.certificate-file", Kind: options.Text, Doc: "PEM file with the client's own certificate, where the registry asks for one."}
	optKey      = options.Option{Key: "schema-registry.ssl.key-file", Kind: options.Text, Doc: "PEM file with the key of 'schema-registry.ssl.certificate-file'."}
	optTimeout  = options.Option{Key: "schema-registry.timeout", Kind: options.Duration, Default: "10s", Doc: "How long one request may take."}
	optRetries  = options.Option{Key: "schema-registry.retries", Kind: options.Int, Default: "4", Doc: "How often a request is made again that failed for a reason that may pass, 0 to 20."}
	optCache    = options.Option{Key: "schema-registry.cache-size", Kind: options.Int, Default: "1000", Doc: "How many schemas are kept in memory, 1 to 100000; the one that was not used for longest goes first."}
	optSubject  = options.Option{Key: "schema-registry.subject", Kind: options.Text, Doc: "The subject of the values' schemas; by default what 'schema-registry.subject-name-strategy' makes of topic and record."}
	optKeySubj  = options.Option{Key: "schema-registry.key-subject", Kind: options.Text, Doc: "The subject of the keys' schemas, likewise."}
	optStrategy = options.Option{Key: "schema-registry.subject-name-strategy", Kind: options.Enum, Default: "topic-name", Values: []string{"topic-name", "record-name", "topic-record-name"}, Doc: "How a subject is named: topic-name, the topic with -value or -key behind it; record-name, the full name of the record; topic-record-name, both with a hyphen between."}
	optRegister = options.Option{Key: "schema-registry.auto-register", Kind: options.Boolean, Default: "true", Doc: "Whether the schema of what is written is registered; else it must be there."}
)

// Options are those of a registry, for a connector's list.
func Options() []options.Option {
	return []options.Option{optURL, optUser, optPassword, optToken, optCA, optCert, optKey, optTimeout, optRetries, optCache, optSubject, optKeySubj, optStrategy, optRegister}
}

// Strategy says how subjects are named.
type Strategy string

// The strategies.
const (
	TopicName       Strategy = "topic-name"
	RecordName      Strategy = "record-name"
	TopicRecordName Strategy = "topic-record-name"
)

// Config is a checked set of options.
type Config struct {
	URLs     []string
	Timeout  time.Duration
	Retries  int
	Cache    int
	Register bool // what is written is registered
	Strategy Strategy

	what            string
	subject, keySub string
	user            string
	password, token secret.Ref
	ca, cert, key   string
}

// Set reports whether a table names a registry.
func Set(m options.Map) bool { return strings.TrimSpace(m.Get(optURL)) != "" }

// Parse checks the options of the table that what names. It opens nothing.
func Parse(what string, m options.Map) (Config, error) {
	c := Config{
		what: what, Timeout: m.Duration(optTimeout), Retries: int(m.Int(optRetries)), Cache: int(m.Int(optCache)), Register: m.Bool(optRegister),
		Strategy: Strategy(strings.ToLower(m.Get(optStrategy))), subject: m.Get(optSubject), keySub: m.Get(optKeySubj), user: m.Get(optUser),
		ca: m.Get(optCA), cert: m.Get(optCert), key: m.Get(optKey),
	}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for at := range strings.SplitSeq(m.Get(optURL), ",") {
		at = strings.TrimRight(strings.TrimSpace(at), "/")
		u, err := url.Parse(at)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			fault("option '%s': want addresses such as http://127.0.0.1:8081", optURL.Key)
			continue
		}
		if u.User != nil {
			fault("option '%s' holds a name or a password: set '%s' and '%s'", optURL.Key, optUser.Key, optPassword.Key)
			continue
		}
		c.URLs = append(c.URLs, at)
	}
	var err error
	if c.password, err = secret.New(optPassword, m); err != nil {
		faults = append(faults, err.Error())
	}
	if c.token, err = secret.New(optToken, m); err != nil {
		faults = append(faults, err.Error())
	}
	if (c.user == "") != !c.password.Set() {
		fault("'%s' and '%s' need each other", optUser.Key, optPassword.Key)
	}
	if c.user != "" && c.token.Set() {
		fault("set '%s' or '%s', not both", optUser.Key, optToken.Key)
	}
	if (c.cert == "") != (c.key == "") {
		fault("'%s' and '%s' need each other", optCert.Key, optKey.Key)
	}
	if c.Timeout < time.Millisecond || c.Retries < 0 || c.Retries > 20 || c.Cache < 1 || c.Cache > 100_000 {
		fault("an option 'schema-registry.*' is out of bounds")
	}
	if len(faults) > 0 {
		return c, batch.UserErrorf("%s: %s", what, strings.Join(faults, "; "))
	}
	return c, nil
}

// Subject names the subject of what a topic's values or keys are.
func (c Config) Subject(topic, record string, key bool) (string, error) {
	own := c.subject
	if key {
		own = c.keySub
	}
	switch {
	case own != "":
		return own, nil
	case c.Strategy != RecordName && topic == "":
		return "", batch.UserErrorf("%s: a subject named by its topic needs one topic: set '%s'", c.what, optSubject.Key)
	case c.Strategy != TopicName && record == "":
		return "", batch.UserErrorf("%s: the name of the record is not known: set '%s'", c.what, optSubject.Key)
	case c.Strategy == RecordName:
		return record, nil
	case c.Strategy == TopicRecordName:
		return topic + "-" + record, nil
	case key:
		return topic + "-key", nil
	}
	return topic + "-value", nil
}

func (c Config) tlsConfig() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, batch.UserErrorf("%s: option '%s': %w", c.what, optCA.Key, err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, batch.UserErrorf("%s: option '%s': %q holds no certificate in PEM", c.what, optCA.Key, c.ca)
		}
	}
	if c.cert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.cert, c.key)
			if err != nil {
				return nil, batch.UserErrorf("%s: options '%s' and '%s': %w", c.what, optCert.Key, optKey.Key, err)
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
