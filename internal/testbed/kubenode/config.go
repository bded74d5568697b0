package kubenode

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// containerdConfig is version 2, which every containerd from 1.4 on reads.
const containerdConfig = `version = 2
root = "%[1]s/containerd/root"
state = "%[1]s/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "%[1]s/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  restrict_oom_score_adj = true # nothing may be made less killable than we are, without CAP_SYS_RESOURCE
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "%[1]s/registries"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "%[3]s"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "%[1]s/runc"
`

const cniConfig = `{"cniVersion": "0.4.0", "name": %[1]q, "plugins": [
  {"type": "bridge", "bridge": %[1]q, "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "%[2]s/addresses",
     "ranges": [[{"subnet": %[3]q, "gateway": %[4]q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[2]s
port: ` + kubeletPort + `
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
healthzPort: ` + healthPort + `
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]s/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: %[1]s/pki/kubelet-server.crt
tlsPrivateKeyFile: %[1]s/pki/kubelet-server.key
containerRuntimeEndpoint: unix://%[1]s/containerd.sock
# Nobody listens there: a lookup fails at once. Without one every pod would be warned about.
clusterDNS: [%[2]s]
cgroupDriver: cgroupfs
cgroupRoot: /%[3]s
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
volumePluginDir: %[1]s/kubelet/plugins
podLogsDir: %[1]s/pods
# A test machine's disk is as full as it is: nothing is evicted, no image deleted.
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
kubeAPIQPS: 1000
kubeAPIBurst: 2000
`

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: %[2]s
clientConnection: {kubeconfig: %[1]s/kube-proxy.kubeconfig}
clusterCIDR: ` + podNet + `
hostnameOverride: ` + Name + `
mode: nftables
healthzBindAddress: 127.0.0.1:` + proxyPort + `
metricsBindAddress: 127.0.0.1:` + metricsPort + `
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`

// auditPolicy writes down every request except those of the cluster's own parts: tests count them.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler, system:kube-proxy, "system:node:` + Name + `"]}
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata}
`

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: gantry, cluster: {server: "https://%s:%s", certificate-authority-data: %s}}]
users: [{name: %[4]s, user: {client-certificate-data: %[5]s, client-key-data: %[6]s}}]
contexts: [{name: gantry, context: {cluster: gantry, user: %[4]s}}]
current-context: gantry
`

const mirrorConfig = `server = %[1]q
override_path = true
[host.%[1]q]
  capabilities = ["pull", "resolve"]
  override_path = true
`

// writeConfigs writes what every part reads.
func (n *Node) writeConfigs() error {
	kubelet := fmt.Sprintf(kubeletConfig, n.Dir, Address, n.group())
	if _, err := os.Stat("/etc/resolv.conf"); err != nil {
		kubelet += "resolvConf: \"\"\n"
	}
	for name, text := range map[string]string{
		"containerd.toml":      fmt.Sprintf(containerdConfig, n.Dir, n.Pause, snapshotter(n.Dir)),
		"cni/10-pods.conflist": fmt.Sprintf(cniConfig, bridge, n.Dir, podNet, Address),
		"kubelet.yaml":         kubelet,
		"kube-proxy.yaml":      fmt.Sprintf(proxyConfig, n.Dir, Address),
		"audit.yaml":           auditPolicy,
	} {
		if err := n.write(name, text); err != nil {
			return err
		}
	}
	for host, url := range n.Registries {
		// The server, which is asked for what is not there, is the same: what it answered is what pods are told.
		text := fmt.Sprintf(mirrorConfig, url)
		if err := n.write(filepath.Join("registries", host, "hosts.toml"), text); err != nil {
			return err
		}
	}
	for _, user := range []string{"admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"} {
		if err := n.writeKubeconfig(user); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) writeKubeconfig(user string) error {
	var data [3]string
	for i, name := range []string{"ca.crt", user + ".crt", user + ".key"} {
		text, err := os.ReadFile(n.path("pki", name))
		if err != nil {
			return fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
		}
		data[i] = base64.StdEncoding.EncodeToString(text)
	}
	return n.write(user+".kubeconfig", fmt.Sprintf(kubeconfig, Address, apiPort, data[0], user, data[1], data[2]))
}

func (n *Node) write(name, text string) error {
	file := n.path(name)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		return fmt.Errorf("configuring the node: %w", err)
	}
	return nil
}

// snapshotter is overlayfs, except where the directory lies on an overlay itself (a CI job in a container).
func snapshotter(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// apiServerArgs are the API server's flags.
func (n *Node) apiServerArgs() []string {
	pki := n.path("pki") + "/"
	return flags(
		"etcd-servers", "http://127.0.0.1:"+etcdPort,
		"bind-address", Address, "advertise-address", Address, "secure-port", apiPort,
		"tls-cert-file", pki+"apiserver.crt", "tls-private-key-file", pki+"apiserver.key",
		"client-ca-file", pki+"ca.crt",
		"kubelet-client-certificate", pki+"apiserver-kubelet.crt", "kubelet-client-key", pki+"apiserver-kubelet.key",
		"kubelet-certificate-authority", pki+"ca.crt", "kubelet-preferred-address-types", "InternalIP",
		"service-account-issuer", "https://kubernetes.default.svc",
		"service-account-key-file", pki+"tokens.pub", "service-account-signing-key-file", pki+"tokens.key",
		"service-cluster-ip-range", serviceNet,
		"authorization-mode", "Node,RBAC", "enable-admission-plugins", "NodeRestriction", "allow-privileged", "true",
		"requestheader-client-ca-file", pki+"front-proxy-ca.crt", "requestheader-allowed-names", "front-proxy-client",
		"requestheader-username-headers", "X-Remote-User", "requestheader-group-headers", "X-Remote-Group",
		"requestheader-extra-headers-prefix", "X-Remote-Extra-",
		"audit-policy-file", n.path("audit.yaml"), "audit-log-path", n.path("audit.log"), "audit-log-maxsize", "2000",
		"shutdown-delay-duration", "0s")
}

// controllerArgs are the flags that controller manager and scheduler share. Where they ask for more than five
// requests a second, which is their default, a new pod would wait.
func (n *Node) controllerArgs(name, port string) []string {
	config := n.path(name + ".kubeconfig")
	return flags("kubeconfig", config, "authentication-kubeconfig", config, "authorization-kubeconfig", config,
		"bind-address", "127.0.0.1", "secure-port", port, "leader-elect", "false",
		"kube-api-qps", "1000", "kube-api-burst", "2000")
}

// flags makes --name=value of every pair.
func flags(pairs ...string) []string {
	var args []string
	for i := 0; i+1 < len(pairs); i += 2 {
		args = append(args, "--"+pairs[i]+"="+pairs[i+1])
	}
	return args
}
