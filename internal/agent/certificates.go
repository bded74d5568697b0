package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Certificates are those of one job, as PEM. The key of their authority is nowhere: nobody can make more of them.
type Certificates struct {
	CA                    []byte
	ServerCert, ServerKey []byte // for the agent
	ClientCert, ClientKey []byte // for the hook
}

// How long certificates hold: longer than any job, and from before now, as clocks differ.
const (
	certificateLife = 14 * 24 * time.Hour
	clockSkew       = 24 * time.Hour
)

// NewCertificates makes a job's certificates. The agent's, which the job can read, is no good for a client.
func NewCertificates(now time.Time) (Certificates, error) {
	m := maker{now: now}
	ca, caKey := m.authority()
	caPEM := m.certificate(ca, ca, caKey, caKey)
	serverCert, serverKey := m.leaf(ca, caKey, x509.ExtKeyUsageServerAuth)
	clientCert, clientKey := m.leaf(ca, caKey, x509.ExtKeyUsageClientAuth)
	if m.err != nil {
		return Certificates{}, fmt.Errorf("making the certificates of a job: %w", m.err)
	}
	return Certificates{
		CA: caPEM, ServerCert: serverCert, ServerKey: serverKey, ClientCert: clientCert, ClientKey: clientKey,
	}, nil
}

// Files are the agent's part, by the names that ServerTLS looks for.
func (c Certificates) Files() map[string][]byte {
	return map[string][]byte{ClientCAName: c.CA, ServerCertName: c.ServerCert, ServerKeyName: c.ServerKey}
}

// Client is the hook's part, for an agent that listens on address.
func (c Certificates) Client(address string) Address {
	return Address{Network: NetworkTCP, Address: address, ServerName: ServerName, CA: c.CA, Cert: c.ClientCert, Key: c.ClientKey}
}

// maker makes certificates until the first error, which it keeps.
type maker struct {
	now    time.Time
	serial int64
	err    error
}

func (m *maker) key() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.note(err)
	return key
}

func (m *maker) template(name string) *x509.Certificate {
	m.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(m.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: m.now.Add(-clockSkew), NotAfter: m.now.Add(certificateLife),
		BasicConstraintsValid: true,
	}
}

func (m *maker) authority() (*x509.Certificate, *ecdsa.PrivateKey) {
	t := m.template("a gantry job")
	t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign
	return t, m.key()
}

func (m *maker) leaf(ca *x509.Certificate, caKey *ecdsa.PrivateKey, usage x509.ExtKeyUsage) (cert, key []byte) {
	t, own := m.template(ServerName), m.key()
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
	if usage == x509.ExtKeyUsageServerAuth {
		t.DNSNames = []string{ServerName}
	}
	if m.err != nil {
		return nil, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(own)
	m.note(err)
	return m.certificate(t, ca, own, caKey), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (m *maker) certificate(t, parent *x509.Certificate, own, signer *ecdsa.PrivateKey) []byte {
	if m.err != nil {
		return nil
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, own.Public(), signer)
	m.note(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (m *maker) note(err error) {
	if m.err == nil {
		m.err = err
	}
}
