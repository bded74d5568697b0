package kubenode

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
)

// get asks the API server as administrator and decodes the answer into to, unless that is nil.
func (n *Node) get(ctx context.Context, path string, to any) error {
	pair, err := tls.LoadX509KeyPair(n.path("pki", "admin.crt"), n.path("pki", "admin.key"))
	if err != nil {
		return fmt.Errorf("reading the administrator's certificate: %w", err)
	}
	ca, err := os.ReadFile(n.path("pki", "ca.crt"))
	if err != nil {
		return fmt.Errorf("reading the cluster's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool},
		DisableKeepAlives: true,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+Address+":"+apiPort+path, nil)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: the API server answers %s: %.300s", path, answer.Status, text)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(text, to)
}

func (n *Node) answers(ctx context.Context) error { return n.get(ctx, "/readyz", nil) }

// usable tells whether a pod would be accepted and run: the node is ready, has no taint left, and new pods have a
// service account.
func (n *Node) usable(ctx context.Context) error {
	var node struct {
		Spec struct {
			Taints []any `json:"taints"`
		} `json:"spec"`
		Status struct {
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	}
	if err := n.get(ctx, "/api/v1/nodes/"+Name, &node); err != nil {
		return err
	}
	if !slices.ContainsFunc(node.Status.Conditions, condition.ready) {
		return fmt.Errorf("the node is not ready: %+v", node.Status.Conditions)
	}
	if len(node.Spec.Taints) > 0 {
		return errors.New("the node is still tainted")
	}
	return n.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

func (c condition) ready() bool { return c.Type == "Ready" && c.Status == "True" }

// object is what Left looks at.
type object struct {
	Metadata struct {
		Name              string  `json:"name"`
		Namespace         string  `json:"namespace"`
		DeletionTimestamp *string `json:"deletionTimestamp"`
	} `json:"metadata"`
}

// Left lists what somebody has made in the cluster and not deleted: namespaces, volumes, and pods in the first
// namespace. What is being deleted does not count, nor what goes with its namespace.
func (n *Node) Left(ctx context.Context) ([]string, error) {
	var left []string
	for _, kind := range []struct{ name, path string }{
		{"namespace", "/api/v1/namespaces"},
		{"persistentvolume", "/api/v1/persistentvolumes"},
		{"pod", "/api/v1/namespaces/default/pods"},
	} {
		var list struct {
			Items []object `json:"items"`
		}
		if err := n.get(ctx, kind.path, &list); err != nil {
			return left, err
		}
		for _, o := range list.Items {
			if o.Metadata.DeletionTimestamp == nil && !(kind.name == "namespace" && initial(o.Metadata.Name)) {
				left = append(left, kind.name+" "+o.Metadata.Name)
			}
		}
	}
	return left, nil
}

// initial tells the namespaces that every cluster has.
func initial(namespace string) bool {
	return namespace == "default" || strings.HasPrefix(namespace, "kube-")
}

// KubeletAnswers asks the kubelet of this network namespace whether it works.
func KubeletAnswers(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+healthPort+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("asking the kubelet: %w", err)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return fmt.Errorf("asking the kubelet: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the kubelet answers %s", answer.Status)
	}
	return nil
}
