// Package kubetest gives tests a real Kubernetes: namespaces that go with the test, pods as self-hosted runners have
// them, the test itself going on inside such a pod, and faults.
//
//	go run ./internal/testbed/cmd/testbed run --only kubernetes -- go test ./internal/engine/kube/...
//
// A test runs where the hook would run:
//
//	func TestInARunnersPod(t *testing.T) {
//		if kubetest.InPod(t, kubetest.RunnerSpec{Rules: rules}) {
//			return
//		}
//		self := kubetest.Self(t) // this process is in the pod: its service account, network, user, limits
//		...
//	}
//
// or stays outside and calls programs in the pod, while it breaks things:
//
//	c := kubetest.Open(t)
//	r := c.Runner(t, kubetest.RunnerSpec{Copy: []string{programs}})
//	cmd := r.Command(t.Context(), nil, filepath.Join(programs, "hook.sh"))
//	...
//	c.Part(t, kubetest.APIServer).Kill(t)
//
// Everything is apart from package testbed so that tests of other engines do not link a Kubernetes client.
package kubetest
