package kubenode

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the cluster's certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// identity is one certificate of the cluster: who a client is, and by which names a server is called.
type identity struct {
	file   string // NAME.crt and NAME.key
	name   string
	groups []string
	hosts  []string
}

// identities are all that the cluster's parts and its administrator need.
func identities() []identity {
	return []identity{
		{file: "apiserver", name: "kube-apiserver", hosts: []string{"127.0.0.1", Address, serviceAPI, "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc"}},
		{file: "kubelet-server", name: Name, hosts: []string{Address, Name}},
		{file: "apiserver-kubelet", name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: "admin", name: "admin", groups: []string{"system:masters"}},
		{file: "kube-controller-manager", name: "system:kube-controller-manager"},
		{file: "kube-scheduler", name: "system:kube-scheduler"},
		{file: "kube-proxy", name: "system:kube-proxy"},
		{file: "kubelet", name: "system:node:" + Name, groups: []string{"system:nodes"}},
	}
}

// writeCertificates makes every key and certificate of the cluster in a directory.
func writeCertificates(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	for _, name := range []string{"front-proxy-ca", "ca"} {
		ca, err := newAuthority(dir, name)
		if err != nil {
			return err
		}
		if name != "ca" {
			continue
		}
		for _, id := range identities() {
			if err := ca.issue(id); err != nil {
				return err
			}
		}
	}
	return writeTokenKey(dir)
}

func newAuthority(dir, name string) (*authority, error) {
	template := newTemplate(pkix.Name{CommonName: "gantry test " + name})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	ca := &authority{dir: dir, cert: template}
	var err error
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return ca, ca.sign(name, template, ca.key)
}

func newTemplate(subject pkix.Name) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand does not fail
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
}

func (a *authority) issue(id identity) error {
	template := newTemplate(pkix.Name{CommonName: id.name, Organization: id.groups})
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range id.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	return a.sign(id.file, template, key)
}

// sign writes NAME.crt, signed by the authority, and NAME.key.
func (a *authority) sign(name string, template *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(a.dir, name+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(a.dir, name+".key"), key)
}

// writeTokenKey makes the key by which the tokens of service accounts are signed, and its public half.
func writeTokenKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	if err := writeKey(filepath.Join(dir, "tokens.key"), key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	return writePEM(filepath.Join(dir, "tokens.pub"), "PUBLIC KEY", der)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding a key: %w", err)
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
