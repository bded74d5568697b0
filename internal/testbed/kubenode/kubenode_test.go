package kubenode

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestTheProgramIsBuiltAgainWhenItsSourcesChange(t *testing.T) {
	dir := t.TempDir()
	key := func() string {
		t.Helper()
		key, err := buildKey(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]string{}
	for _, step := range []struct{ name, text string }{{"main.go", "a"}, {"main.go", "b"}, {"go.sum", ""}} {
		write(step.name, step.text)
		if other := keys[key()]; other != "" {
			t.Errorf("%s %q has the key of %s", step.name, step.text, other)
		}
		keys[key()] = step.name + " " + step.text
	}
}

func TestTheProgramIsOfTheVersionThatItSays(t *testing.T) {
	module, err := os.ReadFile(filepath.Join("../../..", sources, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "k8s.io/kubernetes " + version + "\n"; !strings.Contains(string(module), want) {
		t.Errorf("%s/go.mod does not require %s", sources, want)
	}
}

func TestCertificatesAreTrustedWhereTheyAreUsed(t *testing.T) {
	dir := t.TempDir()
	if err := writeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	for _, id := range identities() {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, id.file+".crt"), filepath.Join(dir, id.file+".key"))
		if err != nil {
			t.Fatal(err)
		}
		uses := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, host := range append(id.hosts, "") {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, KeyUsages: uses}); err != nil {
				t.Errorf("%s as %q: %v", id.file, host, err)
			}
		}
	}
}

func TestConfigurationsAreWhatTheirReadersParse(t *testing.T) {
	n := &Node{Dir: t.TempDir(), Registries: map[string]string{"gantry.test": "http://10.0.0.1:5000/v2/gantry.test"}}
	if err := writeCertificates(n.path("pki")); err != nil {
		t.Fatal(err)
	}
	if err := n.writeConfigs(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubelet.yaml", "kube-proxy.yaml", "audit.yaml", "admin.kubeconfig", "cni/10-pods.conflist"} {
		text, err := os.ReadFile(n.path(name))
		if err != nil {
			t.Fatal(err)
		}
		var any map[string]any
		if err := yaml.UnmarshalStrict(text, &any); err != nil || strings.Contains(string(text), "%!") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	if text, err := os.ReadFile(n.path("registries/gantry.test/hosts.toml")); err != nil || !strings.HasPrefix(string(text), `server = "http://10.0.0.1:5000/v2/gantry.test"`) {
		t.Errorf("the mirror is %s: %v", text, err)
	}
}

// TestANetworkThatIsNotOursIsLeftAlone is about ending a node whose own command was killed: it was in a network that went
// with it, and this one may have a node too. The note's setting could not be written, if it were tried.
func TestANetworkThatIsNotOursIsLeftAlone(t *testing.T) {
	n := &Node{Dir: t.TempDir()}
	if err := n.write("network.json", `{"Namespace": "net:[1]", "Forwarding": "no number"}`); err != nil {
		t.Fatal(err)
	}
	if err := n.dropNetwork(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAControlGroupGoesWithItsProcesses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making control groups needs root")
	}
	points, _, err := hierarchies()
	if err != nil {
		t.Skip(err)
	}
	n := &Node{Dir: t.TempDir()}
	if err := makeGroup(n.group()); err != nil {
		t.Skip(err) // a container without control groups of its own
	}
	inner := filepath.Join(points[len(points)-1], n.group(), "pods", "one")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	member := []byte(strconv.Itoa(cmd.Process.Pid))
	if err := os.WriteFile(filepath.Join(inner, "cgroup.procs"), member, 0); err != nil {
		t.Skip(err)
	}
	if err := removeGroup(n.group()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the process has ended by itself")
	}
	if err := removeGroup(n.group()); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
