package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Address is how an agent is reached that shares no folder with the hook. It is a secret of the hook: whoever has it
// can be the agent's client.
type Address struct {
	// Network is NetworkTCP or NetworkPipe.
	Network string `json:"network"`
	// Address is the HOST:PORT of NetworkTCP.
	Address string `json:"address,omitempty"`
	// ServerName is the name in the agent's certificate; "" is that of NewCertificates.
	ServerName string `json:"serverName,omitempty"`
	// CA (PEM) is the authority of the job's certificates; Cert and Key (PEM) are what the client shows.
	CA   []byte `json:"ca,omitempty"`
	Cert []byte `json:"cert,omitempty"`
	Key  []byte `json:"key,omitempty"`
}

// The ways to an agent that shares no folder.
const (
	NetworkTCP  = "tcp"  // mutual TLS to an address
	NetworkPipe = "pipe" // `gantry-agent pipe`, started in the container by whoever can do that
)

// Names of the agent's certificates in the folder of --tls. They are those of a Kubernetes Secret of type
// kubernetes.io/tls.
const (
	ServerCertName = "tls.crt"
	ServerKeyName  = "tls.key"
	ClientCAName   = "ca.crt"
)

// ServerName is the name in every agent's certificate: addresses are not known when it is made, and the job's own
// certificate authority vouches for nobody else.
const ServerName = "gantry-agent"

// dialTimeout bounds the way to an open connection, a handshake included; connectTimeout that to a machine that is there.
// Nobody answers at the address of a pod that is gone.
const (
	dialTimeout    = 5 * time.Second
	connectTimeout = 2 * time.Second
)

// TLSDialer dials an agent of NetworkTCP. Only the agent that has this job's certificate is accepted.
func TLSDialer(a Address) (Dialer, error) {
	config, err := tlsConfig(a.CA, a.Cert, a.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates of the agent's client: %w", err)
	}
	config.RootCAs, config.ServerName = config.ClientCAs, a.ServerName
	if config.ServerName == "" {
		config.ServerName = ServerName
	}
	d := net.Dialer{Timeout: connectTimeout}
	return func(ctx context.Context) (net.Conn, error) {
		ctx, stop := context.WithTimeout(ctx, dialTimeout)
		defer stop()
		raw, err := d.DialContext(ctx, "tcp", a.Address)
		if err != nil {
			return nil, fmt.Errorf("dialling the agent at %s: %w", a.Address, err)
		}
		conn := tls.Client(raw, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, fmt.Errorf("dialling the agent at %s: %w", a.Address, err)
		}
		return conn, nil
	}, nil
}

// ServerTLS reads the agent's side of a job's certificates from a folder.
func ServerTLS(dir string) (*tls.Config, error) {
	var files [3][]byte
	for i, name := range []string{ClientCAName, ServerCertName, ServerKeyName} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("reading the agent's certificates: %w", err)
		}
		files[i] = text
	}
	config, err := tlsConfig(files[0], files[1], files[2])
	if err != nil {
		return nil, fmt.Errorf("reading the agent's certificates: %w", err)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

// tlsConfig is what both sides have in common. Tickets would save nothing: a handshake takes a millisecond.
func tlsConfig(ca, cert, key []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("there is no certificate of an authority")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, MinVersion: tls.VersionTLS13,
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}, nil
}
