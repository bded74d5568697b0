package kubetest

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
	"github.com/gantry-ci/gantry/internal/testbed/kubenode"
)

// Parts of the cluster that a test may break.
const (
	APIServer  = "kube-apiserver"
	Kubelet    = "kubelet"
	Scheduler  = "kube-scheduler"
	Controller = "kube-controller-manager"
)

// Part is one running program of the cluster.
type Part struct {
	name    string
	file    string
	cluster *Cluster
}

// Part prepares to break a part of the cluster. It runs again when the test ends. Where others use the cluster too, the
// test is skipped: `testbed run` starts one of its own.
func (c *Cluster) Part(t testing.TB, name string) *Part {
	t.Helper()
	c.Own(t)
	if c.Shared {
		t.Skip("others use this cluster too; run: testbed run --only kubernetes -- go test …")
	}
	node := kubenode.Node{Dir: c.Dir}
	p := &Part{name: name, file: filepath.Join(node.Daemons(), name+".json"), cluster: c}
	t.Cleanup(func() {
		p.Thaw(t)
		p.Start(t)
	})
	return p
}

// Kill ends the part at once.
func (p *Part) Kill(t testing.TB) {
	t.Helper()
	p.read(t).Process.End(0)
}

// Start starts the part, unless it runs, and returns once it works.
func (p *Part) Start(t testing.TB) {
	t.Helper()
	s := p.read(t)
	if !s.Process.Alive() {
		var err error
		if s.Process, err = s.Start(p.file); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.WithoutCancel(t.Context())
	if err := s.Process.Ready(ctx, func() error { return p.works(ctx) }); err != nil {
		t.Fatal(err)
	}
}

// Restart kills the part and starts it again.
func (p *Part) Restart(t testing.TB) {
	t.Helper()
	p.Kill(t)
	p.Start(t)
}

// Freeze stops the part where it is: its connections stay, and nothing comes.
func (p *Part) Freeze(t testing.TB) {
	t.Helper()
	if err := p.read(t).Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("freezing %s: %v", p.name, err)
	}
}

// Thaw lets a frozen part go on. One that is not frozen does anyway.
func (p *Part) Thaw(t testing.TB) {
	t.Helper()
	if s := p.read(t); s.Process.Alive() {
		if err := s.Process.Signal(syscall.SIGCONT); err != nil {
			t.Errorf("waking %s: %v", p.name, err)
		}
	}
}

func (p *Part) read(t testing.TB) daemon.Spec {
	t.Helper()
	s, err := daemon.Read(p.file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// works asks the part whether it does what it is for.
func (p *Part) works(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	switch p.name {
	case APIServer:
		return p.cluster.ready(ctx)
	case Kubelet:
		if err := kubenode.KubeletAnswers(ctx); err != nil {
			return err
		}
		return p.nodeReady(ctx)
	}
	return nil
}

// ready asks the API server whether it takes requests.
func (c *Cluster) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Config.Host+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the API server answers %s", answer.Status)
	}
	return nil
}

func (p *Part) nodeReady(ctx context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: p.cluster.Node}}
	if err := p.cluster.Get(ctx, node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("the node is not ready: %+v", node.Status.Conditions)
}
