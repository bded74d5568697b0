// Package podclient is Kubernetes as the suite of package conformance needs it. The suite runs in a runner's pod, as the
// hook does, and looks at the pods of that pod's namespace through the API server. It shares nothing with gantry's own
// driver, which is judged by it.
//
// The namespace is the suite's own: what comes to it while a case runs is the hook's.
package podclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// Options are what a client needs to know.
type Options struct {
	// Environ is the environment of a process in the runner's pod.
	Environ []string
	// Publish is where the suite's images go: HOST/PREFIX of a registry that takes them, and from which nodes pull.
	Publish string
	// Copied: the hook copies the work folder to its containers and back, because they share no volume with the runner.
	Copied bool
	// Account is the folder of the pod's service account; "" for the kubelet's.
	Account string
}

// Client is the namespace of a runner's pod.
type Client struct {
	opts      Options
	config    *rest.Config
	http      *http.Client
	base      *url.URL
	namespace string
	pod       string // the runner's own
}

var (
	_ conformance.Engine    = (*Client)(nil)
	_ conformance.Publisher = (*Client)(nil)
)

// Find finds the API server through the service account of the pod, and sees that it may list pods.
func Find(ctx context.Context, o Options) (*Client, error) {
	account := cmp.Or(o.Account, "/var/run/secrets/kubernetes.io/serviceaccount")
	host := lookup(o.Environ, "KUBERNETES_SERVICE_HOST")
	namespace, err := os.ReadFile(filepath.Join(account, "namespace"))
	if host == "" || err != nil {
		return nil, errors.New("this is no pod with a service account: run gantry conform where the hook runs, in a runner's pod")
	}
	c := &Client{opts: o, namespace: strings.TrimSpace(string(namespace))}
	c.pod = cmp.Or(lookup(o.Environ, "ACTIONS_RUNNER_POD_NAME"), lookup(o.Environ, "HOSTNAME"))
	c.config = &rest.Config{
		Host:            "https://" + net.JoinHostPort(host, cmp.Or(lookup(o.Environ, "KUBERNETES_SERVICE_PORT"), "443")),
		BearerTokenFile: filepath.Join(account, "token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(account, "ca.crt")},
		QPS:             -1,
	}
	if c.http, err = rest.HTTPClientFor(c.config); err != nil {
		return nil, fmt.Errorf("preparing the connection to the API server: %w", err)
	}
	if c.base, err = url.Parse(c.config.Host); err != nil {
		return nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	pods, err := c.pods(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Name == c.pod }) {
		return nil, fmt.Errorf("the runner's pod %q is not in the namespace %s: set ACTIONS_RUNNER_POD_NAME", c.pod, c.namespace)
	}
	return c, nil
}

// lookup is the last value of a variable.
func lookup(environ []string, name string) string {
	for _, kv := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// Meets is false of everything that Docker has and a cluster has not.
func (c *Client) Meets(need string) bool {
	switch need {
	case "kubernetes", "rootful":
		return true
	case "shared-work":
		return !c.opts.Copied
	}
	return false
}

func (c *Client) pods(ctx context.Context) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := c.do(ctx, http.MethodGet, "", nil, &list)
	return list.Items, err
}

// errGone: there is no such pod.
var errGone = errors.New("it is gone")

// do asks the API server about a pod, or with name "" about all of them.
func (c *Client) do(ctx context.Context, method, name string, body, answer any) error {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("wording a request to the API server: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url(name).String(), bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("making a request to the API server: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the API server's answer: %w", err)
	case response.StatusCode == http.StatusNotFound && name != "":
		return fmt.Errorf("the pod %s: %w", name, errGone)
	case response.StatusCode >= 300:
		return fmt.Errorf("%s pods/%s in %s: %s: %s", method, name, c.namespace, response.Status, message(said))
	}
	return json.Unmarshal(said, answer)
}

func (c *Client) url(segments ...string) *url.URL {
	return c.base.JoinPath("api/v1/namespaces", c.namespace, "pods", path.Join(segments...))
}

// message is what a refusal says.
func message(text []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		return strings.TrimSpace(string(text))
	}
	return status.Message
}
