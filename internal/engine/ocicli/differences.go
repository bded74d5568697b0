package ocicli

import (
	"strings"

	"github.com/gantry-ci/gantry/internal/engine"
)

// differences is all that the two programs do not have in common.
type differences struct {
	name string
	// pingArgs answer with a version if the engine works, at once.
	pingArgs []string
	// removeArgs remove containers at once, with their anonymous volumes. Podman waits 10 s for a container that
	// ignores SIGTERM, even by force.
	removeArgs []string
	// cutOffFirst: it pays to take containers off their network before they are removed. Docker spends most of both
	// removals, the containers' and the network's, waiting for the kernel; this way the two go side by side.
	cutOffFirst bool
	// probesHealth: health checks run only when somebody asks for it (or systemd does, which may not be there).
	probesHealth bool
	// mountRelabels: --mount understands relabel=shared|private; -v always understands z and Z.
	mountRelabels bool
	// buildFileIsList: the Dockerfile's path is read as a list separated by commas, quoted like CSV.
	buildFileIsList bool
	// leaksFailedPorts: see checkHostPorts and forgetNetwork.
	leaksFailedPorts bool
	// speaks is how the program begins a line about its own failure.
	speaks string
	// plainNetworks have no name service, so that aliases on them are refused or useless. "x:" stands for all
	// that begin so.
	plainNetworks []string
	// steering are the environment variables that steer this program, beyond those of any; families are names of
	// which some do. Their form is that of the function steering.
	steering []string
	families []string

	// address is where the API is, if that can be known without running the program.
	address        func(env []string) (address string, known bool, err error)
	info           infoReader
	listContainers listing[engine.Container]
	listNetworks   listing[engine.Network]
	credentials    credentialStyle
	patterns       []pattern
}

// listing is a command that lists objects, and the reader of its answer. Filters are appended to args.
type listing[T any] struct {
	args []string
	read func(answer []byte) ([]T, error)
}

func differencesOf(name string) *differences {
	switch name {
	case "docker":
		return docker()
	case "podman":
		return podman()
	}
	return nil
}

func docker() *differences {
	return &differences{
		name:          "docker",
		pingArgs:      []string{"version", "--format", "{{.Server.Version}}"},
		removeArgs:    []string{"rm", "-f", "-v"},
		cutOffFirst:   true,
		speaks:        "docker: ",
		plainNetworks: []string{"host", "none", "bridge", "default", "container:"},
		steering: []string{
			"DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_CLI_*", "DOCKER_CONFIG", "DOCKER_CONTENT_TRUST*",
			"DOCKER_CONTEXT", "DOCKER_CUSTOM_HEADERS", "DOCKER_DEFAULT_PLATFORM", "DOCKER_HOST", "DOCKER_TLS*",
		},
		families: []string{"DOCKER_*", "BUILDKIT_*", "BUILDX_*", "MOBY_*"},
		address:  dockerAddress,
		info: infoReader{
			args: []string{"info", "--format", "{{json .}}"}, read: readDockerInfo,
			socketArgs: []string{"context", "inspect", "--format", "{{.Endpoints.docker.Host}}"},
		},
		listContainers: listing[engine.Container]{
			args: []string{"ps", "-a", "--no-trunc", "--format", "{{json .}}"}, read: readDockerContainers,
		},
		listNetworks: listing[engine.Network]{
			args: []string{"network", "ls", "--no-trunc", "--format", "{{json .}}"}, read: readDockerNetworks,
		},
		credentials: credentialStyle{hub: "https://index.docker.io/v1/", prepare: prepareDockerConfig, flags: dockerConfigFlags},
		patterns:    dockerPatterns(),
	}
}

func podman() *differences {
	return &differences{
		name:             "podman",
		pingArgs:         []string{"info", "--format", "{{.Version.Version}}"},
		removeArgs:       []string{"rm", "-f", "-v", "-t", "0"},
		probesHealth:     true,
		mountRelabels:    true,
		buildFileIsList:  true,
		leaksFailedPorts: true,
		speaks:           "Error: ",
		plainNetworks: []string{
			"host", "none", "private", "bridge", "podman", "slirp4netns", "slirp4netns:", "pasta", "pasta:",
			"container:", "ns:", "pod", "bridge:",
		},
		steering: []string{
			"CONTAINERS_*", "CONTAINER_*", "_CONTAINERS_*", "_PODMAN_*", "PODMAN_USERNS", "PODMAN_CONNECTIONS_CONF",
			"STORAGE_DRIVER", "STORAGE_OPTS", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "DOCKER_HOST", "BUILDAH_*",
			"NETAVARK_*", "DBUS_SESSION_BUS_ADDRESS", "TMP_DIR",
		},
		families: []string{"CONTAINER*", "PODMAN_*", "STORAGE_*", "DOCKER_*", "CNI_*", "DBUS_*"},
		address:  podmanAddress,
		info:     infoReader{args: []string{"info", "--format", "json"}, read: readPodmanInfo},
		listContainers: listing[engine.Container]{
			args: []string{"ps", "-a", "--no-trunc", "--format", "json"}, read: readPodmanContainers,
		},
		listNetworks: listing[engine.Network]{
			args: []string{"network", "ls", "--no-trunc", "--format", "json"}, read: readPodmanNetworks,
		},
		credentials: credentialStyle{hub: "docker.io", prepare: prepareAuthFile, flags: authFileFlags},
		patterns:    podmanPatterns(),
	}
}

// hasNames tells whether containers find each other by name on a network.
func (d *differences) hasNames(network string) bool {
	for _, plain := range d.plainNetworks {
		if network == plain || strings.HasSuffix(plain, ":") && strings.HasPrefix(network, plain) {
			return false
		}
	}
	return network != ""
}
