package kubetest_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

func TestAProgramInAPodOutlivesTheAPIServerAndTheKubelet(t *testing.T) {
	c := kubetest.Open(t)
	api, kubelet := c.Part(t, kubetest.APIServer), c.Part(t, kubetest.Kubelet)
	r := c.Runner(t, kubetest.RunnerSpec{})
	cmd, err := r.Command(t.Context(), kubetest.Program{Args: []string{"sh", "-c", "echo up; read line; echo got $line"}})
	if err != nil {
		t.Fatal(err)
	}
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	api.Kill(t)
	if err := c.List(t.Context(), r.Namespace, &corev1.PodList{}); err == nil {
		t.Error("a killed API server answers")
	}
	kubelet.Kill(t)
	if _, err := io.WriteString(stdin, "word\n"); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(stdout)
	if err := cmd.Wait(); string(out) != "up\ngot word\n" || err != nil {
		t.Errorf("the program printed %q: %v", out, err)
	}
	api.Start(t)
	kubelet.Start(t)
	pod := c.AwaitPod(t, r.Namespace, r.Pod, "running", kubetest.Running)
	if n := pod.Status.ContainerStatuses[0].RestartCount; n != 0 {
		t.Errorf("the container was started again %d times", n)
	}
	startPod(t, c, r.Namespace, nil)
}

func TestAFrozenAPIServerGoesOn(t *testing.T) {
	c := kubetest.Open(t)
	api := c.Part(t, kubetest.APIServer)
	api.Freeze(t)
	answer := make(chan error)
	go func() { answer <- c.List(t.Context(), "default", &corev1.PodList{}) }()
	select {
	case err := <-answer:
		t.Errorf("a frozen API server answers: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	api.Thaw(t)
	if err := <-answer; err != nil {
		t.Errorf("the request that waited: %v", err)
	}
}

func TestRequestsOfARunnerAreCounted(t *testing.T) {
	if kubetest.Inside() {
		get := serviceAccount(t)
		if err := errors.Join(get("pods", ""), get("secrets", "")); !apierrors.IsForbidden(err) {
			t.Errorf("listing pods and secrets: %v", err)
		}
		return
	}
	c := kubetest.Open(t)
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}}
	r := c.Runner(t, kubetest.RunnerSpec{Rules: rules})
	audit := c.Audit(t)
	if got := audit.Requests(t, r.User); len(got) != 0 {
		t.Errorf("before it asked for anything: %v", got)
	}
	r.Enter(t)
	var got []string
	for _, request := range audit.Requests(t, r.User) {
		got = append(got, request.String())
	}
	if want := "list pods  200, list secrets  403"; strings.Join(got, ", ") != want {
		t.Errorf("counted %q, want %s", got, want)
	}
}

// TestARequestGoesThroughTheProxy cuts the first connections of a program in a pod to the API server.
func TestARequestGoesThroughTheProxy(t *testing.T) {
	if kubetest.Inside() {
		get := serviceAccount(t)
		if err := get("pods", ""); !apierrors.IsForbidden(err) {
			t.Errorf("listing pods: %v", err)
		}
		return
	}
	c := kubetest.Open(t)
	proxy := c.Proxy(t, nil)
	c.Runner(t, kubetest.RunnerSpec{}).Enter(t, proxy.Env()...)
	if proxy.Connections() == 0 {
		t.Error("the pod has not used the proxy")
	}
}

// echoServer sends back what it gets.
func echoServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func dial(t *testing.T, p *kubetest.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestAProxyPassesEverythingOn(t *testing.T) {
	p := kubetest.NewProxy(t, "127.0.0.1", echoServer(t), nil)
	conn := dial(t, p)
	text := strings.Repeat("0123456789", 100_000)
	go func() {
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(conn); string(got) != text || err != nil {
		t.Errorf("%d bytes come back: %v", len(got), err)
	}
	if p.Connections() != 1 {
		t.Errorf("%d connections", p.Connections())
	}
}

func TestAProxyCutsAtTheByte(t *testing.T) {
	p := kubetest.NewProxy(t, "127.0.0.1", echoServer(t), func() int64 { return 15 })
	conn := dial(t, p)
	if _, err := io.WriteString(conn, "0123456789"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err == nil || len(got) > 5 {
		t.Errorf("%q comes back, then %v", got, err)
	}
	for end := time.Now().Add(10 * time.Second); p.Cuts() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d cuts are counted", p.Cuts())
		}
	}
}

func TestAProxyHoldsCutsAndRefuses(t *testing.T) {
	p := kubetest.NewProxy(t, "127.0.0.1", echoServer(t), nil)
	conn := dial(t, p)
	echo := func() error {
		if _, err := io.WriteString(conn, "x"); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}
	if err := echo(); err != nil {
		t.Fatal(err)
	}
	p.Hold()
	done := make(chan error)
	go func() { done <- echo() }()
	select {
	case err := <-done:
		t.Errorf("something passes what holds: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	p.Resume()
	if err := <-done; err != nil {
		t.Errorf("after it went on: %v", err)
	}
	if n := p.Cut(); n != 1 {
		t.Errorf("%d connections were cut", n)
	}
	if err := echo(); err == nil {
		t.Error("a connection that was cut works")
	}
	p.Refuse(true)
	var err error
	if conn, err = net.Dial("tcp", p.Addr); err == nil {
		defer conn.Close()
		err = echo()
	}
	if err == nil {
		t.Error("a connection that was refused works")
	}
}
