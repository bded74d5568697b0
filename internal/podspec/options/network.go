package options

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gantry-ci/gantry/internal/createopts"
)

// names collects the names that the container is to be reached by.
func (t *translator) names(uses []createopts.Flag) {
	for _, f := range uses {
		t.addName(f, f.Value)
	}
}

func (t *translator) addName(f createopts.Flag, name string) {
	name = strings.ToLower(name)
	if wrong := validation.IsDNS1123Subdomain(name); wrong != nil {
		t.note(f, "%q cannot be a host name in Kubernetes: only letters, digits, \"-\" and \".\" can", name)
		return
	}
	if !slices.Contains(t.out.Names, name) {
		t.out.Names = append(t.out.Names, name)
	}
}

// network keeps the aliases of Docker's "name=x,alias=y" and Podman's "x:alias=y"; there is no network to choose.
func (t *translator) network(uses []createopts.Flag) {
	for _, f := range uses {
		t.note(f, "%s", oneNetwork)
		alone := createopts.Options{Flags: []createopts.Flag{f}}
		for _, alias := range alone.NetworkAliases() {
			t.addName(f, alias)
		}
	}
}

// addHost reads "NAME:ADDRESS" and Docker's newer "NAME=ADDRESS". Podman allows several names with ";".
func (t *translator) addHost(uses []createopts.Flag) {
	for _, f := range uses {
		if t.Target == Ephemeral && !t.Can.Hosts {
			t.note(f, "/etc/hosts of a pod that runs cannot be changed; kubernetes.mode: pod can")
			continue
		}
		t.addHostEntry(f)
	}
}

func (t *translator) addHostEntry(f createopts.Flag) {
	at := strings.IndexAny(f.Value, ":=")
	if at < 0 {
		t.wrong(f, "write NAME:ADDRESS")
		return
	}
	address := strings.Trim(f.Value[at+1:], "[]")
	if address == "host-gateway" {
		t.note(f, "a pod has no name for its node; the address is in the variable of a field reference, in the runner's template")
		return
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" {
		t.wrong(f, "%q is not an IP address", address)
		return
	}
	for name := range strings.SplitSeq(strings.ToLower(f.Value[:at]), ";") {
		if wrong := validation.IsDNS1123Subdomain(name); wrong != nil {
			t.note(f, "%q cannot be a host name in Kubernetes: only letters, digits, \"-\" and \".\" can", name)
			continue
		}
		t.out.Hosts = AddHost(t.out.Hosts, ip.String(), name)
		if t.Target == Pod {
			t.pod.Spec.HostAliases = AddHost(t.pod.Spec.HostAliases, ip.String(), name)
		}
	}
}

// AddHost adds a name to the entry of an address, which is made if there is none. A name that is there stays once.
func AddHost(hosts []corev1.HostAlias, address, name string) []corev1.HostAlias {
	i := slices.IndexFunc(hosts, func(h corev1.HostAlias) bool { return h.IP == address })
	if i < 0 {
		return append(hosts, corev1.HostAlias{IP: address, Hostnames: []string{name}})
	}
	if !slices.Contains(hosts[i].Hostnames, name) {
		hosts[i].Hostnames = append(hosts[i].Hostnames, name)
	}
	return hosts
}

func (t *translator) hostname(f createopts.Flag) {
	name := strings.ToLower(f.Value)
	if wrong := validation.IsDNS1123Label(name); wrong != nil {
		t.note(f, "a pod's host name has at most 63 letters, digits and \"-\", and no \".\"")
		return
	}
	t.pod.Spec.Hostname = name
}

// dns replaces the name servers, as docker does, and adds searched domains and options.
func (t *translator) dns(uses []createopts.Flag) {
	config := t.pod.Spec.DNSConfig
	if config == nil {
		config = &corev1.PodDNSConfig{}
		t.pod.Spec.DNSConfig = config
	}
	for _, f := range uses {
		switch f.Name {
		case "dns":
			t.nameServer(config, f)
		case "dns-search":
			if f.Value != "." {
				config.Searches = append(config.Searches, f.Value)
			}
		case "dns-option":
			name, value, has := strings.Cut(f.Value, ":")
			option := corev1.PodDNSConfigOption{Name: name}
			if has {
				option.Value = &value
			}
			config.Options = append(config.Options, option)
		}
	}
}

func (t *translator) nameServer(config *corev1.PodDNSConfig, f createopts.Flag) {
	ip, err := netip.ParseAddr(f.Value)
	if err != nil {
		t.wrong(f, "is not an IP address")
		return
	}
	t.pod.Spec.DNSPolicy = corev1.DNSNone
	config.Nameservers = append(config.Nameservers, ip.String())
}
