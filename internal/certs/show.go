package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Info describes a certificate for people.
type Info struct {
	File        string    `json:"file"`
	Subject     string    `json:"subject"`
	Identity    []string  `json:"identity,omitempty"` // URIs
	Authority   bool      `json:"authority"`
	Hosts       []string  `json:"hosts,omitempty"`
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	Fingerprint string    `json:"fingerprint"`       // SHA-256
	Problem     string    `json:"problem,omitempty"` // why nobody would accept it now
}

// Show describes the certificates in dir: ca.crt and, if it is there, tls.crt.
func Show(dir string, now time.Time) ([]Info, error) {
	var all []Info
	ca, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, fmt.Errorf("show certificates: %w", err)
	}
	authorities, err := parse(ca)
	if err != nil {
		return nil, fmt.Errorf("show certificates: %s: %w", filepath.Join(dir, caFile), err)
	}
	for _, c := range authorities {
		i := Info{File: caFile, Subject: c.Subject.CommonName, Authority: c.IsCA, From: c.NotBefore, Until: c.NotAfter, Fingerprint: fingerprint(c.Raw)}
		if err := inTime(c, now); err != nil {
			i.Problem = err.Error()
		}
		all = append(all, i)
	}
	cert, err := os.ReadFile(filepath.Join(dir, certFile))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("show certificates: %w", err)
	}
	chain, err := parse(cert)
	if err != nil {
		return nil, fmt.Errorf("show certificates: %s: %w", filepath.Join(dir, certFile), err)
	}
	leaf := chain[0]
	i := Info{File: certFile, Subject: leaf.Subject.CommonName, From: leaf.NotBefore, Until: leaf.NotAfter, Fingerprint: fingerprint(leaf.Raw), Hosts: leaf.DNSNames}
	for _, ip := range leaf.IPAddresses {
		i.Hosts = append(i.Hosts, ip.String())
	}
	for _, u := range leaf.URIs {
		i.Identity = append(i.Identity, u.String())
	}
	m, err := newMaterial(ca, nil, nil)
	if err == nil {
		err = m.verify(chain, demand{roles: Roles, usage: x509.ExtKeyUsageAny}, now)
	}
	if err != nil {
		i.Problem = err.Error()
	}
	return append(all, i), nil
}

// fingerprint is the SHA-256 of a certificate, in the form that openssl prints.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	var b strings.Builder
	for i, x := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{x})))
	}
	return b.String()
}
