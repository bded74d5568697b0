package kube_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubefake"
)

// These tests are about how the beginning and the end of a step are noticed whose agent is reached by its pod's address.

// farStep is a container action in a pod of its own, whose address is one of this machine's.
type farStep struct {
	*faked
	ip   string
	pod  string
	away atomic.Bool // the API server
}

// address gives each test one of its own, as agents listen on the same port everywhere.
var address atomic.Int32

func newFarStep(t *testing.T, prepare func(*kubefake.Server)) *farStep {
	t.Helper()
	n := address.Add(1)
	s := &farStep{ip: fmt.Sprintf("127.74.%d.%d", os.Getpid()%250, n)}
	server := kubefake.New(t)
	server.Kubelet = func(pod *corev1.Pod) bool {
		pod.Spec.NodeName, pod.Status.PodIP = "node1", s.ip
		s.state(pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})
		return true
	}
	if prepare != nil {
		prepare(server)
	}
	place := server.Place()
	place.Config.WrapTransport = func(direct http.RoundTripper) http.RoundTripper { return outage{direct, &s.away} }
	d, err := kube.New(kube.Options{
		Settings: kube.Settings{Mode: "pod", Volume: "none", AgentImage: "agent:1"}, Place: place, Work: fakeWork, AgentProgram: "/opt/gantry-agent",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.faked = &faked{T: t, Driver: d, server: server}
	return s
}

// outage is a way to the API server that can be closed: so that nobody tries for longer than once.
type outage struct {
	direct http.RoundTripper
	away   *atomic.Bool
}

func (o outage) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.away.Load() {
		return nil, x509.UnknownAuthorityError{}
	}
	return o.direct.RoundTrip(r)
}

func (s *farStep) state(pod *corev1.Pod, state corev1.ContainerState) {
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", ContainerID: "containerd://job", State: state}}
}

// change lets the cluster tell of the step's container.
func (s *farStep) change(state corev1.ContainerState) {
	s.server.Change(s.pod, func(pod *corev1.Pod) { s.state(pod, state) })
}

func (s *farStep) ends() {
	s.change(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}})
}

func (s *farStep) spec() engine.ContainerSpec {
	return engine.ContainerSpec{
		Name: "gantry-s1-step", Title: "step container", Image: "registry.invalid/action:1", Labels: map[string]string{"io.gantry.job": "j1"},
		Entrypoint: agent.MountPoint + "/" + agent.BinaryName, Args: []string{"serve", "--once"},
		Mounts: []engine.Mount{{Source: fakeWork + "/_temp/.gantry/s1/s", Target: agent.MountPoint}},
	}
}

// started is what StartStep gives.
type started struct {
	c   *engine.StepContainer
	err error
}

// start asks for the step, and waits until the pod is there.
func (s *farStep) start() <-chan started {
	s.Helper()
	there := make(chan started, 1)
	go func() {
		c, err := s.StartStep(s.Context(), s.spec(), "", &s.log)
		there <- started{c, err}
	}()
	s.pod = firstPod(s.T, s.server)
	return there
}

// listen has the pod's first agent listen, with its certificates, and counts who dials it.
func (s *farStep) listen() (net.Listener, *atomic.Int32) {
	s.Helper()
	return s.listenAt(":7443")
}

func (s *farStep) listenAt(port string) (net.Listener, *atomic.Int32) {
	s.Helper()
	dir, dials := s.TempDir(), new(atomic.Int32)
	for _, secret := range s.server.Secrets() {
		for name, text := range secret.Data {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				s.Fatal(err)
			}
		}
	}
	l, err := agent.ServeConfig{Listen: s.ip + port, TLS: dir}.Listener()
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { l.Close() })
	go serve(l, func(conn net.Conn) {
		dials.Add(1)
		_ = conn.(*tls.Conn).Handshake() // the driver sees what comes of it
		_, _ = io.Copy(io.Discard, conn)
	})
	return l, dials
}

func serve(l net.Listener, each func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			each(conn)
		}()
	}
}

// begin starts a step whose agent listens, and whose container runs.
func (s *farStep) begin() (*engine.StepContainer, net.Listener, *atomic.Int32) {
	s.Helper()
	there := s.start()
	l, dials := s.listen()
	step := <-there
	if step.err != nil {
		s.Fatalf("%v\n%s", step.err, s.log.String())
	}
	s.change(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	return step.c, l, dials
}

// isGone tells whether the container is gone within a time.
func isGone(c *engine.StepContainer, within time.Duration) bool {
	select {
	case <-c.Gone:
		return true
	case <-time.After(within):
		return false
	}
}

// goneWell waits for the end of a container that ended as programs do.
func (s *farStep) goneWell(c *engine.StepContainer) {
	s.Helper()
	if !isGone(c, 10*time.Second) {
		s.Fatalf("it is not gone\n%s", s.log.String())
	}
	if err := c.Err(); err != nil {
		s.Error(err)
	}
}

// A step whose agent cannot be reached for a while goes on, until the cluster tells of its end.
func TestAStepOutlivesTheWayToItsAgent(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(s *farStep, c *engine.StepContainer){
		"somebody refuses in its place": func(*farStep, *engine.StepContainer) {},
		"somebody hangs up in its place, even after its result": func(s *farStep, c *engine.StepContainer) {
			defer c.Over()
			l, err := net.Listen("tcp", s.ip+":7443")
			if err != nil {
				s.Fatal(err)
			}
			s.Cleanup(func() { l.Close() })
			go serve(l, func(net.Conn) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFarStep(t, nil)
			c, l, _ := s.begin()
			l.Close()
			fault(s, c)
			if isGone(c, 3*time.Second) {
				t.Fatalf("it has been ended: %v", c.Err())
			}
			s.ends()
			s.goneWell(c)
		})
	}
}

// The address of a step's agent is left in peace while the step runs, and so is the API server.
func TestAStepIsNotAskedAllTheTime(t *testing.T) {
	t.Parallel()
	s := newFarStep(t, nil)
	c, _, dials := s.begin()
	time.Sleep(300 * time.Millisecond) // what is asked at the beginning
	dialled, asked := dials.Load(), len(s.server.Requests())
	time.Sleep(2 * time.Second)
	if n := dials.Load() - dialled; n > 2 {
		t.Errorf("the agent was dialled %d times in 2s", n)
	}
	if more := s.server.Requests()[asked:]; len(more) > 0 {
		t.Errorf("the API server was asked: %q", more)
	}
	s.ends()
	s.goneWell(c)
}

// The end of a step whose result is known is noticed before the cluster tells of it, but not while its agent still listens.
func TestTheEndOfAFarStepIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	s := newFarStep(t, nil)
	c, l, _ := s.begin()
	c.Over()
	c.Over()
	if isGone(c, 300*time.Millisecond) {
		t.Fatal("its agent is still there")
	}
	closed := time.Now()
	l.Close()
	s.goneWell(c)
	if took := time.Since(closed); took > 400*time.Millisecond { // the pod is removed as well
		t.Errorf("noticed after %s", took)
	}
}

// So is that of a step so short that its agent was never heard.
func TestTheEndOfAShortStepIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	s := newFarStep(t, nil)
	there := s.start()
	s.change(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	step := <-there
	if step.err != nil {
		t.Fatal(step.err)
	}
	if isGone(step.c, 300*time.Millisecond) {
		t.Fatal("nothing is known of its end")
	}
	over := time.Now()
	step.c.Over()
	s.goneWell(step.c)
	if took := time.Since(over); took > 400*time.Millisecond {
		t.Errorf("noticed after %s", took)
	}
}

// Something that takes connections at the pod's address, as proxies of service meshes do for all, is not the agent.
func TestWhoTakesConnectionsIsNotTheAgent(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*farStep) (port string, there <-chan error){
		"a step's in its own pod": func(s *farStep) (string, <-chan error) {
			return ":7443", s.async(func() error {
				_, err := s.StartStep(s.Context(), s.spec(), "", &s.log)
				return err
			})
		},
		"a job's": func(s *farStep) (string, <-chan error) { return ":7443", s.startJob() },
		"a step's in its job's pod": func(s *farStep) (string, <-chan error) {
			job := s.startJob()
			s.pod = firstPod(s.T, s.server)
			s.listen()
			if err := <-job; err != nil {
				s.Fatal(err)
			}
			there := s.async(func() error {
				_, err := s.StartStep(s.Context(), s.spec(), s.pod, &s.log)
				return err
			})
			return s.stepPort(), there
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFarStep(t, nil)
			port, there := begin(s)
			proxy, err := net.Listen("tcp", s.ip+port)
			if err != nil {
				t.Fatal(err)
			}
			go serve(proxy, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
			firstPod(t, s.server)
			select {
			case err := <-there:
				t.Fatalf("the image is still being pulled, and all is there: %v", err)
			case <-time.After(time.Second):
			}
			proxy.Close()
			s.listenAt(port)
			listening := time.Now()
			if err := <-there; err != nil || time.Since(listening) > time.Second {
				t.Fatalf("after %s: %v", time.Since(listening), err)
			}
		})
	}
}

func (s *farStep) async(do func() error) <-chan error {
	there := make(chan error, 1)
	go func() { there <- do() }()
	return there
}

// startJob starts a job with a container, and nothing else.
func (s *farStep) startJob() <-chan error {
	container := s.spec()
	container.Name, container.Args = "gantry-j1-job", []string{"serve"}
	spec := s.job()
	spec.Container, spec.Services = &container, nil
	return s.async(func() error {
		_, err := s.StartJob(s.Context(), spec, &s.log)
		return err
	})
}

// stepPort waits for a step in the job's pod, and gives where its agent is to listen.
func (s *farStep) stepPort() string {
	s.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if all := s.server.Pod(s.pod).Spec.EphemeralContainers; len(all) > 0 {
			config, err := agent.ParseServe(all[0].Args[1:])
			if err != nil {
				s.Fatal(err)
			}
			return config.Listen
		}
	}
	s.Fatal("no step has come")
	return ""
}

// A step outlives an API server that is away for longer than its client tries, and its end is learned afterwards.
func TestAStepOutlivesTheAPIServer(t *testing.T) {
	t.Parallel()
	s := newFarStep(t, nil)
	c, _, _ := s.begin()
	time.Sleep(100 * time.Millisecond)
	s.away.Store(true)
	s.server.HangUp()
	if isGone(c, 3*time.Second) {
		t.Fatalf("it has been ended: %v", c.Err())
	}
	if n := strings.Count(s.log.String(), "the API server is away"); n != 1 {
		t.Errorf("told %d times: %s", n, s.log.String())
	}
	s.ends()
	s.away.Store(false)
	s.goneWell(c)
}

// What the API server refuses ends the following, as nothing more will be learned.
func TestAStepThatMayNotBeFollowed(t *testing.T) {
	t.Parallel()
	var expired atomic.Bool
	s := newFarStep(t, func(server *kubefake.Server) {
		server.Before = func(w http.ResponseWriter, r *http.Request) bool {
			refused := expired.Load() && r.Method == http.MethodGet
			if refused {
				kubefake.Refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
			}
			return refused
		}
	})
	c, _, _ := s.begin()
	time.Sleep(100 * time.Millisecond)
	expired.Store(true)
	s.server.HangUp()
	if !isGone(c, 10*time.Second) {
		t.Fatal("it is followed all the same")
	}
	if err := c.Err(); !errors.Is(err, kubeapi.ErrForbidden) {
		t.Error(err)
	}
}

// Whoever gives the step up ends it, whatever the API server does.
func TestAStepThatIsGivenUpWhileTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	s := newFarStep(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	there := make(chan started, 1)
	go func() {
		c, err := s.StartStep(ctx, s.spec(), "", &s.log)
		there <- started{c, err}
	}()
	s.pod = firstPod(t, s.server)
	s.listen()
	step := <-there
	if step.err != nil {
		t.Fatal(step.err)
	}
	s.away.Store(true)
	s.server.HangUp()
	time.Sleep(time.Second)
	stop()
	if !isGone(step.c, 10*time.Second) {
		t.Error("it is not gone")
	}
}
