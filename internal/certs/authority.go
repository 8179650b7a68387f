package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// The files of an authority and of a node.
const (
	caFile   = "ca.crt"
	caKey    = "ca.key"
	certFile = "tls.crt"
	keyFile  = "tls.key"
)

// Life times. A certificate begins a little before now, for clocks that differ.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	NodeLife      = 365 * 24 * time.Hour
	clockSkew     = 5 * time.Minute
)

// Init makes an authority for a cluster in dir: ca.crt, which everyone may have, and
// ca.key, which no node needs. It never writes over one that is there.
func Init(dir, cluster string, now time.Time) error {
	if !nameForm.MatchString(cluster) {
		return fmt.Errorf("cluster name %q: want letters, digits, '.', '_' and '-', at most 63", cluster)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of an authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of an authority: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cluster + " authority", Organization: []string{"sluice"}},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{{Scheme: scheme, Host: cluster}},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return fmt.Errorf("make the certificate of an authority: %w", err)
	}
	return writePair(dir, caFile, caKey, der, key)
}

// Request is what a certificate is to say.
type Request struct {
	Role  Role
	IDs   []string
	Hosts []string      // DNS names and addresses at which the node is reached
	Life  time.Duration // default NodeLife
}

// Issue makes a certificate and its key in dir, signed by the authority in caDir, with
// the authority's certificate beside them: a folder for --tls-dir. It never writes over
// a certificate that is there.
func Issue(caDir, dir string, r Request, now time.Time) error {
	ca, signer, cluster, err := authority(caDir)
	if err != nil {
		return err
	}
	who := Identity{Cluster: cluster, Role: r.Role, IDs: r.IDs}
	if err := who.validate(); err != nil {
		return err
	}
	t, err := r.template(who, now)
	if err != nil {
		return err
	}
	if t.NotAfter.After(ca.NotAfter) {
		return fmt.Errorf("a certificate until %s would outlive its authority, which ends %s: ask for fewer days or make a new authority",
			day(t.NotAfter), day(ca.NotAfter))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of %s: %w", who, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", who, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of a certificate: %w", err)
	}
	if err := writePair(dir, certFile, keyFile, der, key); err != nil {
		return err
	}
	if caDir == dir {
		return nil
	}
	trusted, err := os.ReadFile(filepath.Join(caDir, caFile))
	if err != nil {
		return fmt.Errorf("read the authority: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, caFile), trusted, 0o644); err != nil {
		return fmt.Errorf("write the authority beside the certificate: %w", err)
	}
	return nil
}

// template is the certificate before it is signed. A client's is none for a server.
func (r Request) template(who Identity, now time.Time) (*x509.Certificate, error) {
	life := r.Life
	if life == 0 {
		life = NodeLife
	}
	if life < 0 {
		return nil, fmt.Errorf("a certificate cannot last %s", life)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: r.IDs[0], Organization: []string{"sluice"}, OrganizationalUnit: []string{string(r.Role)}},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(life),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if r.Role != Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		if len(r.Hosts) == 0 {
			return nil, fmt.Errorf("a %s is connected to: say by which host names or addresses", r.Role)
		}
	}
	for _, id := range r.IDs {
		t.URIs = append(t.URIs, who.uri(id))
	}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
			continue
		}
		if _, err := url.Parse("https://" + h + "/"); err != nil || h == "" || len(h) > 253 || hostForm.FindString(h) != h {
			return nil, fmt.Errorf("host %q is neither a DNS name nor an address", h)
		}
		t.DNSNames = append(t.DNSNames, h)
	}
	return t, nil
}

// authority reads an authority with its key and the name of its cluster.
func authority(dir string) (*x509.Certificate, crypto.Signer, string, error) {
	b, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, nil, "", fmt.Errorf("read the authority: %w; sluice certs init makes one", err)
	}
	all, err := parse(b)
	if err != nil {
		return nil, nil, "", fmt.Errorf("read the authority %s: %w", filepath.Join(dir, caFile), err)
	}
	ca := all[0] // the newest comes first in a file of several
	if !ca.IsCA || len(ca.URIs) != 1 || ca.URIs[0].Scheme != scheme || !nameForm.MatchString(ca.URIs[0].Host) {
		return nil, nil, "", fmt.Errorf("%s is not an authority that sluice certs init has made", filepath.Join(dir, caFile))
	}
	b, err = os.ReadFile(filepath.Join(dir, caKey))
	if err != nil {
		return nil, nil, "", fmt.Errorf("read the authority's key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, nil, "", fmt.Errorf("%s holds no private key", filepath.Join(dir, caKey))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, "", fmt.Errorf("read the authority's key: %w", err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, "", fmt.Errorf("%s is not the key of the authority beside it", filepath.Join(dir, caKey))
	}
	return ca, signer, ca.URIs[0].Host, nil
}

// serialNumber is 128 random bits.
func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return n, nil
}

// writePair writes a key and its certificate. Neither may be there: who holds the old
// one still needs it.
func writePair(dir, cert, key string, der []byte, k *ecdsa.PrivateKey) error {
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return fmt.Errorf("write a private key: %w", err)
	}
	for _, name := range []string{cert, key} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: give another folder, or move it away first", filepath.Join(dir, name))
		}
	}
	if err := writeNew(filepath.Join(dir, key), "PRIVATE KEY", b, 0o600); err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, cert), "CERTIFICATE", der, 0o644)
}

// writeNew writes a block to a file that was not there, durably.
func writeNew(name, kind string, der []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pem.Encode(f, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.Sync()
}
