package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/podspec/podlabel"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// agentPort is where an agent listens in a pod that shares no folder with the runner; a step's is another one.
const agentPort = 7443

// secrets are what of a pod must not stand in its specification.
type secrets struct {
	name  string // of the secret object
	data  map[string][]byte
	certs *agent.Certificates // nil: no agent listens at an address
	port  int
	pull  map[string]engine.Credentials // by the image's repository
}

// environment puts a container's variables into the secret.
func (s *secrets) environment(m *member) error {
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	for i, key := range slices.Sorted(maps.Keys(m.env)) {
		if !envName.MatchString(key) {
			return verdict.New(verdict.Workflow, "names of variables have letters, digits, \"_\", \"-\" and \".\"",
				"the environment of the %s: Kubernetes does not take a variable of the name %q", m.spec.Title, key)
		}
		item := fmt.Sprintf("env.%s.%d", m.name, i)
		s.data[item] = []byte(m.env[key])
		m.container.Env = append(m.container.Env, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: s.name}, Key: item},
		}})
	}
	return nil
}

var envName = regexp.MustCompile(`^[-._a-zA-Z][-._a-zA-Z0-9]*$`)

// listen makes the certificates of the pod's agents.
func (s *secrets) listen(port int) error {
	certs, err := agent.NewCertificates(time.Now())
	if err != nil {
		return err
	}
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	s.certs, s.port = &certs, port
	maps.Copy(s.data, certs.Files())
	s.data[clientCert], s.data[clientKey] = certs.ClientCert, certs.ClientKey
	return nil
}

// The hook's own part of the certificates, for later hooks. The pod does not mount it.
const (
	clientCert = "client.crt"
	clientKey  = "client.key"
)

// take reads what listen has put into a secret, for another agent of the same pod.
func (s *secrets) take(data map[string][]byte, port int) {
	s.certs, s.port = &agent.Certificates{CA: data[agent.ClientCAName], ClientCert: data[clientCert], ClientKey: data[clientKey]}, port
}

// address is how the pod's agent is reached; nil without certificates.
func (s *secrets) address(pod *corev1.Pod) *agent.Address {
	if s.certs == nil || pod.Status.PodIP == "" {
		return nil
	}
	a := s.certs.Client(net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(s.port)))
	return &a
}

// listenArg is what the agent is to listen on; "" if it is not.
func (s *secrets) listenArg() string {
	if s.certs == nil {
		return ""
	}
	return ":" + strconv.Itoa(s.port)
}

// credentials notes what a member's image is to be pulled with.
func (s *secrets) credentials(m *member) {
	if m.spec.Credentials == nil {
		return
	}
	if s.pull == nil {
		s.pull = map[string]engine.Credentials{}
	}
	s.pull[repository(m.spec)] = *m.spec.Credentials
}

// repository is what the kubelet compares an image with: credentials for one do not serve others of the same registry.
func repository(spec engine.ContainerSpec) string {
	ref, err := name.ParseReference(spec.Image)
	if err != nil {
		return spec.Credentials.Server
	}
	return strings.Replace(ref.Context().Name(), name.DefaultRegistry+"/", "docker.io/", 1)
}

// pullName is the name of the secret with the credentials of registries.
func (s *secrets) pullName() string { return s.name + "-pull" }

// create makes the objects. It can be called again.
func (s *secrets) create(ctx context.Context, d *Driver, meta metav1.ObjectMeta, withPull bool) error {
	if len(s.data) > 0 {
		meta.Name = s.name
		if err := d.api.CreateSecret(ctx, &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeOpaque, Data: s.data}); err != nil {
			return fmt.Errorf("keeping the environment of services in a secret: %w", err)
		}
	}
	if withPull && len(s.pull) > 0 {
		meta.Name = s.pullName()
		secret := &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
			corev1.DockerConfigJsonKey: dockerConfig(s.pull),
		}}
		if err := d.api.CreateSecret(ctx, secret); err != nil {
			return fmt.Errorf("keeping the credentials of registries in a secret: %w", err)
		}
	}
	return nil
}

// auths is a .dockerconfigjson.
type auths struct {
	Auths map[string]auth `json:"auths"`
}

type auth struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Auth     string `json:"auth"`
}

func authOf(c engine.Credentials) auth {
	return auth{c.Username, c.Password, base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))}
}

func dockerConfig(pull map[string]engine.Credentials) []byte {
	all := auths{map[string]auth{}}
	for repository, c := range pull {
		all.Auths[repository] = authOf(c)
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings can be encoded
	}
	return text
}

// owned are the labels of what belongs to a job, and its owner: the cluster deletes it with the runner's pod.
func (d *Driver) owned(h *home, labels map[string]string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Labels: map[string]string{}}
	maps.Copy(meta.Labels, d.opts.Labels)
	maps.Copy(meta.Labels, keys(labels)) // by these, jobs are found
	meta.Labels[kubeapi.NonceLabel] = nonce()
	if h != nil {
		meta.Labels[labelRunnerPod] = podlabel.Value(h.pod.Name)
		meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: h.pod.Name, UID: h.pod.UID}}
	}
	return meta
}
