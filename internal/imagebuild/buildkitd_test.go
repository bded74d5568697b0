package imagebuild

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
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// Where nothing may gain privileges, a BuildKit elsewhere builds. It is reached by mutual TLS.
func TestRealRestrictedRunnerWithBuildKit(t *testing.T) {
	const address = "GANTRY_TEST_BUILDKIT_ADDRESS"
	node := testbed.Kubernetes(t)
	if !kubetest.Inside() {
		daemon := testbed.BuildKit(t)
		dir := t.TempDir()
		at := secureBuildKit(t, daemon, node, dir)
		text, err := os.ReadFile(daemon.Buildctl)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "client/buildctl"), string(text), 0o755)
		client := filepath.Join(dir, "client")
		kubetest.InPod(t, kubetest.RunnerSpec{Copy: []string{client}, UID: 1001, Restricted: true, NamespaceLabels: []string{"pod-security.kubernetes.io/enforce=restricted"}},
			address+"="+at, buildahVariable+"="+client)
		return
	}
	client := os.Getenv(buildahVariable)
	s := podScene(t)
	s.Config.Tool, s.Config.Path, s.Config.Address = "", filepath.Join(client, "buildctl"), os.Getenv(address)
	s.dockerfile("RUN id -u && touch /made")
	_, err := s.build(t.Context())
	if err == nil {
		t.Error("a client without a certificate was let in")
	}
	s.Config.Certificates = client
	ref, err := s.build(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, &s.log)
	}
	s.pull(ref)
}

// secureBuildKit runs a buildkitd on the node's address, and returns what it listens on. dir/client has what a client needs.
func secureBuildKit(t *testing.T, daemon *testbed.BuildKitDaemon, node *testbed.KubernetesNode, dir string) string {
	t.Helper()
	listens := freeAddress(t, node.Address)
	address := "tcp://" + listens
	certify(t, dir, node.Address)
	config := filepath.Join(dir, "buildkitd.toml")
	writeFile(t, config, fmt.Sprintf(`root = %q
[grpc]
  address = [%q]
  [grpc.tls]
    ca = %[3]q
    cert = %[4]q
    key = %[5]q
[worker.containerd]
  enabled = false
[worker.oci]
  networkMode = "host"
[registry.%[6]q]
  http = true
`, filepath.Join(dir, "data"), address, filepath.Join(dir, "client/ca.pem"), filepath.Join(dir, "server/cert.pem"), filepath.Join(dir, "server/key.pem"), node.Private.Addr), 0o600)
	cmd := exec.Command(filepath.Join(filepath.Dir(daemon.Buildctl), "buildkitd"), "--config", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	s := &scene{T: t}
	s.soon("BuildKit listens", func() bool {
		c, err := net.Dial("tcp", listens)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return address
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T, host string) string {
	t.Helper()
	listener, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// certify makes an authority and what it says of a server and of a client: dir/server and dir/client.
func certify(t *testing.T, dir, address string) {
	t.Helper()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey := newKey(t)
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"server", "client"} {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.ParseIP(address)},
			NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		key := newKey(t)
		cert, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{
			"ca.pem": {Type: "CERTIFICATE", Bytes: ca}, "cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
		} {
			writeFile(t, filepath.Join(dir, name, file), string(pem.EncodeToMemory(block)), 0o644)
		}
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
