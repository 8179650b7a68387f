package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Role is what a certificate lets its owner be.
type Role string

// The roles.
const (
	Driver Role = "driver"
	Worker Role = "worker"
	Client Role = "client"
)

// Roles are all roles.
var Roles = []Role{Driver, Worker, Client}

// scheme is that of the URI with a node's identity.
const scheme = "sluice"

// nameForm is the form of a cluster's name and of an ID: what fits a file name, a
// DNS label and a URI alike.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// Identity is what a certificate says about its owner.
type Identity struct {
	Cluster string
	Role    Role
	IDs     []string // at least one
}

// String is the identity as its URIs.
func (i Identity) String() string {
	all := make([]string, len(i.IDs))
	for n, id := range i.IDs {
		all[n] = i.uri(id).String()
	}
	return strings.Join(all, " ")
}

// Check returns an error unless the owner may call itself id.
func (i Identity) Check(id string) error {
	if !slices.Contains(i.IDs, id) {
		return fmt.Errorf("the certificate is of %s, not of %s %q", i, i.Role, id)
	}
	return nil
}

func (i Identity) uri(id string) *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Cluster, Path: "/" + string(i.Role) + "/" + id}
}

// validate reports what cannot stand in a certificate.
func (i Identity) validate() error {
	var errs []error
	if !nameForm.MatchString(i.Cluster) {
		errs = append(errs, fmt.Errorf("cluster name %q: want letters, digits, '.', '_' and '-', at most 63", i.Cluster))
	}
	if !slices.Contains(Roles, i.Role) {
		errs = append(errs, fmt.Errorf("role %q: want driver, worker or client", i.Role))
	}
	if len(i.IDs) == 0 {
		errs = append(errs, errors.New("no ID is given"))
	}
	for _, id := range i.IDs {
		if !nameForm.MatchString(id) {
			errs = append(errs, fmt.Errorf("ID %q: want letters, digits, '.', '_' and '-', at most 63", id))
		}
	}
	return errors.Join(errs...)
}

// identify reads the identity of a certificate.
func identify(c *x509.Certificate) (Identity, error) {
	var who Identity
	for _, u := range c.URIs {
		if u.Scheme != scheme {
			continue
		}
		role, id, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		one := Identity{Cluster: u.Host, Role: Role(role), IDs: []string{id}}
		if !ok || one.validate() != nil {
			return Identity{}, fmt.Errorf("the certificate names %q, which is not sluice://CLUSTER/ROLE/ID", u)
		}
		if len(who.IDs) > 0 && (who.Cluster != one.Cluster || who.Role != one.Role) {
			return Identity{}, fmt.Errorf("the certificate is of %s and of %s: one has one cluster and one role", who, one)
		}
		who.Cluster, who.Role, who.IDs = one.Cluster, one.Role, append(who.IDs, id)
	}
	if len(who.IDs) == 0 {
		return Identity{}, fmt.Errorf("the certificate of %q does not say what its owner is: it has no URI sluice://CLUSTER/ROLE/ID", c.Subject.CommonName)
	}
	return who, nil
}

// Peer is who is at the other end of a connection that TLS.Server or TLS.Client has let through.
func Peer(state tls.ConnectionState) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, errors.New("the other end has shown no certificate")
	}
	return identify(state.PeerCertificates[0])
}
