package kubetest

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// Object is any object of k8s.io/api: *corev1.Pod, *rbacv1.Role, …
type Object interface {
	runtime.Object
	metav1.Object
}

// Request is a request about objects of one kind, as administrator. It has the methods of client-go's rest.Request:
//
//	err := c.Request("GET", namespace, &corev1.PodList{}).Do(ctx).Into(&pods)
//
// An empty namespace is that of objects without one.
func (c *Cluster) Request(verb, namespace string, kind runtime.Object) *rest.Request {
	kinds, _, err := scheme.Scheme.ObjectKinds(kind)
	if err != nil {
		panic(fmt.Sprintf("%T is no kind of the API: %v", kind, err)) // a mistake in the test
	}
	gvk := kinds[0]
	if meta.IsListType(kind) {
		gvk.Kind = gvk.Kind[:len(gvk.Kind)-len("List")]
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	config := rest.CopyConfig(c.Config)
	config.GroupVersion = ptr(gvk.GroupVersion())
	config.APIPath = "/apis"
	if gvk.Group == "" {
		config.APIPath = "/api"
	}
	client, err := rest.RESTClientForConfigAndClient(config, c.client)
	if err != nil {
		panic(fmt.Sprintf("a client for %s: %v", gvk, err)) // the configuration has been used before
	}
	return client.Verb(verb).NamespaceIfScoped(namespace, namespace != "").Resource(plural.Resource)
}

func ptr[T any](v T) *T { return &v }

// Create makes an object, in the namespace that it names, and fills it with what the cluster has made of it.
func (c *Cluster) Create(t testing.TB, o Object) {
	t.Helper()
	if err := c.Request("POST", o.GetNamespace(), o).Body(o).Do(t.Context()).Into(o); err != nil {
		t.Fatalf("making %T %s%s: %v", o, o.GetName(), o.GetGenerateName(), err)
	}
}

// Get reads the object of o's kind that has o's name and namespace.
func (c *Cluster) Get(ctx context.Context, o Object) error {
	return c.Request("GET", o.GetNamespace(), o).Name(o.GetName()).Do(ctx).Into(o)
}

// List reads all objects of a kind in a namespace, or in all for "".
func (c *Cluster) List(ctx context.Context, namespace string, list runtime.Object) error {
	return c.Request("GET", namespace, list).Do(ctx).Into(list)
}

// Delete deletes the object of o's kind that has o's name and namespace, without grace. It does not wait.
func (c *Cluster) Delete(ctx context.Context, o Object) error {
	return c.Request("DELETE", o.GetNamespace(), o).Name(o.GetName()).Body(noGrace()).Do(ctx).Error()
}

func noGrace() *metav1.DeleteOptions { return &metav1.DeleteOptions{GracePeriodSeconds: new(int64)} }
