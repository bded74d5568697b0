// Package kubenode runs a real Kubernetes of one node: kube-apiserver, etcd, kube-controller-manager, kube-scheduler,
// kubelet and kube-proxy, which are one program built from test/kubenode, with containerd, runc and CNI plugins of the
// machine. Root only; no systemd, no image registry on the internet and no way out of the network are needed.
//
// Everything that it owns lies in one directory, one network bridge and one control group, and in mounts that nobody
// else sees: two nodes on one machine do not disturb each other as long as each is in a network namespace of its own.
//
// What had to be found out:
//   - Without CAP_SYS_RESOURCE no pod starts unless containerd has restrict_oom_score_adj.
//   - The kubelet changes settings of the kernel, and removes control groups and log links of pods that it does not
//     know: it gets its own of each. See mounts.go and cgroups.go.
//   - The kubelet refuses loopback as the node's address, so the node has the pods' gateway, on their bridge.
//   - Without --kube-api-qps the controllers wait seconds before the node loses its first taint.
//   - Names are not resolved in the cluster: it has no DNS.
package kubenode

// Addresses are the same on every machine. A node is alone in its network namespace.
const (
	// Address is the node's, on the pods' bridge: pods, the node and the host reach what listens there.
	Address = "10.213.0.1"
	// Name is the node's name in the cluster.
	Name = "node1"

	bridge         = "gantry-k8s"
	podNet         = "10.213.0.0/18"
	podNetBits     = "18"
	serviceNet     = "10.213.64.0/20"
	serviceAPI     = "10.213.64.1" // the API server's Service
	apiPort        = "16443"
	etcdPort       = "12379"
	etcdPeerPort   = "12380"
	kubeletPort    = "20250"
	controllerPort = "20257"
	schedulerPort  = "20259"
	healthPort     = "20248"
	proxyPort      = "20256"
	metricsPort    = "20249"
)
