package policy

import "strings"

// engineSockets are the usual places of sockets that give control over the host's containers.
func engineSockets() []string {
	return []string{
		"/run/docker.sock", "/run/user/*/docker.sock",
		"/run/podman/podman.sock", "/run/user/*/podman/podman.sock",
		"/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock",
		"/run/crio/crio.sock", "/run/buildkit/buildkitd.sock",
	}
}

// checkSocket finds every way to an engine's socket: itself, a directory above it, another container that may have
// it, a flag that mounts it.
func checkSocket(r Request, exposed []exposure) []Violation {
	var all []Violation
	for _, e := range exposed {
		reason, reached := reachesSocket(e, r)
		if reached {
			all = append(all, Violation{Key: "docker_socket", Value: "deny", Offender: e.shown, Reason: reason})
		}
	}
	return all
}

func reachesSocket(e exposure, r Request) (reason string, reached bool) {
	switch {
	case e.socket:
		return "it mounts the container engine's socket", true
	case e.file:
		return "", false
	case e.opaque != "":
		return e.opaque, true
	case !strings.HasPrefix(e.source, "/"):
		return "", false
	}
	for _, name := range hostNames(e.source, r.RealPath) {
		for _, socket := range append(engineSockets(), r.Sockets...) {
			if exposes(name, unalias(socket)) {
				return "it exposes the container engine's socket", true
			}
		}
	}
	return "", false
}
