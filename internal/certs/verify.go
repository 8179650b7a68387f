package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// hostForm is a DNS name, maybe with a star as its first label.
var hostForm = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// material is what the files of a node's folder hold, as read at one time.
type material struct {
	authorities []*x509.Certificate
	pool        *x509.CertPool
	pair        *tls.Certificate // nil: a client that shows none
	leaf        *x509.Certificate
	self        Identity
}

// newMaterial reads the three files; without cert and key only others are checked.
func newMaterial(ca, cert, key []byte) (*material, error) {
	m := &material{pool: x509.NewCertPool()}
	var err error
	if m.authorities, err = parse(ca); err != nil {
		return nil, fmt.Errorf("%s: %w", caFile, err)
	}
	for _, c := range m.authorities {
		if !c.IsCA {
			return nil, fmt.Errorf("%s: the certificate of %q is not one of an authority", caFile, c.Subject.CommonName)
		}
		m.pool.AddCert(c)
	}
	if cert == nil {
		return m, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	m.pair, m.leaf = &pair, pair.Leaf
	if m.self, err = identify(m.leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	return m, nil
}

// parse reads the certificates of a PEM file.
func parse(b []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a %s, want certificates alone", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return all, nil
}

// demand is what a connection asks of the other end.
type demand struct {
	roles []Role
	usage x509.ExtKeyUsage
	host  string // "" for a client: it has no address of its own
}

// verify holds what the other end has shown against a demand. Its errors say what is
// wrong in words that name the certificate, for whoever has to mend it.
func (m *material) verify(chain []*x509.Certificate, d demand, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("it has shown no certificate")
	}
	leaf := chain[0]
	opts := x509.VerifyOptions{Roots: m.pool, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{d.usage}}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if err := inTime(leaf, now); err != nil {
		return err
	}
	if _, err := leaf.Verify(opts); err != nil {
		if unknown := new(x509.UnknownAuthorityError); errors.As(err, unknown) {
			return fmt.Errorf("its certificate %s is of an authority that is not in %s", about(leaf), caFile)
		}
		return fmt.Errorf("its certificate %s: %w", about(leaf), err)
	}
	who, err := identify(leaf)
	if err != nil {
		return err
	}
	if m.pair != nil && who.Cluster != m.self.Cluster {
		return fmt.Errorf("it is of cluster %q, and this is %q", who.Cluster, m.self.Cluster)
	}
	if !slices.Contains(d.roles, who.Role) {
		return fmt.Errorf("it is %s, and only a %s may be here", who, join(d.roles))
	}
	if d.host != "" {
		if err := leaf.VerifyHostname(d.host); err != nil {
			return fmt.Errorf("its certificate %s: %w", about(leaf), err)
		}
	}
	return nil
}

// inTime refuses a certificate before and after its time.
func inTime(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("the certificate %s expired %s", about(c), c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("the certificate %s begins %s only; do the clocks differ?", about(c), c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// about names a certificate: what it is of, or else its subject.
func about(c *x509.Certificate) string {
	if who, err := identify(c); err == nil {
		return "of " + who.String()
	}
	return fmt.Sprintf("of %q", c.Subject.CommonName)
}

func join(roles []Role) string {
	all := make([]string, len(roles))
	for i, r := range roles {
		all[i] = string(r)
	}
	return strings.Join(all, " or a ")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
