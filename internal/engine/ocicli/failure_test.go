package ocicli

import (
	"context"
	"errors"
	"testing"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// The engines' words, as Docker 20.10 and 28 and Podman 4.3 printed them.
func TestMeanings(t *testing.T) {
	for _, c := range []struct {
		engine string
		said   string
		want   meaning
	}{
		{"docker", "Cannot connect to the Docker daemon at unix:///nope.sock. Is the docker daemon running?", unavailable},
		{"docker", "error during connect: Get \"http://host:2375/_ping\": dial tcp: lookup host", unavailable},
		{"docker", "Failed to initialize: unable to resolve docker endpoint: context \"foo\": context not found", unavailable},
		{"docker", "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get", forbidden},
		{"docker", "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock", forbidden},
		{"docker", "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock", forbidden},
		{"docker", "docker: Error response from daemon: driver failed programming external connectivity on endpoint x (c6): Bind for 0.0.0.0:18080 failed: port is already allocated", portTaken},
		{"docker", "docker: Error response from daemon: driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use", portTaken},
		{"docker", "Error response from daemon: removal of container abc is already in progress", removing},
		{"docker", "Error response from daemon: No such container: nosuch", gone},
		{"docker", "Error: No such object: nosuch", gone},
		{"docker", "Error: No such image: nosuch:1", imageMissing},
		{"docker", "docker: Error response from daemon: No such image: nosuch/image:1\n\nRun 'docker run --help' for more information", imageMissing},
		{"docker", "docker: network-scoped aliases are only supported for user-defined networks", badOption},
		{"docker", "docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]]", badOption},
		{"docker", "docker: Error response from daemon: error gathering device information while adding custom device \"/dev/nope\": no such file or directory", badOption},
		{"docker", "docker: Error response from daemon: Minimum memory limit allowed is 6MB", badOption},
		{"docker", "docker: Error response from daemon: invalid CapAdd: unknown capability: \"CAP_FOO\"", badOption},
		{"docker", "docker: Error response from daemon: invalid CapDrop: unknown capability: \"CAP_FOO\"", badOption},
		{"docker", "docker: Error response from daemon: invalid restart policy 'foo'", badOption},
		{"docker", "docker: invalid hostPort: 99999", badOption},
		{"docker", "docker: invalid containerPort: x", badOption},
		{"docker", "docker: Conflicting options: --restart and --rm", badOption},
		{"docker", "docker: conflicting options: cannot specify both a", badOption},
		{"docker", "docker: --health-retries cannot be negative", badOption},
		{"docker", "docker: invalid publish opts format", badOption},
		{"docker", "docker: Error response from daemon: Unknown runtime specified foo", badOption},
		{"docker", "docker: Error response from daemon: unknown or invalid runtime name: foo", badOption},
		{"docker", "unknown flag: --nope\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]", badOption},
		{"docker", "unknown shorthand flag: 'y' in -y", badOption},
		{"docker", "bad flag syntax: --=x", badOption},
		{"docker", "flag needs an argument: --cpus", badOption},
		{"docker", "invalid argument \"xx\" for \"-m, --memory\" flag: invalid size: 'xx'", badOption},
		{"docker", "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory: unknown", badCommand},
		{"docker", "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown", badCommand},
		{"docker", "docker: Error response from daemon: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"/etc/passwd\": permission denied: unknown", badCommand},
		{"docker", "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec /agent: exec format error: unknown", badCommand},
		{"docker", "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: error mounting \"/a\" to rootfs at \"/etc/passwd\": not a directory: unknown", unknown},
		{"docker", "Error response from daemon: conflict: unable to delete e625 (cannot be forced) - image is being used by running container 82", inUse},
		{"docker", "Error response from daemon: conflict: unable to remove repository reference \"x\" (must force) - container 82 is using its referenced image e6", inUse},
		{"docker", "Error response from daemon: conflict: unable to delete e6 (must be forced) - image is being used by stopped container 82", inUse},
		{"docker", "Error response from daemon: error while removing network: network nn id f2e3 has active endpoints", inUse},
		{"docker", "Error response from daemon: network nosuch not found", networkMissing},
		{"docker", "docker: Error response from daemon: network nope not found\n\nRun 'docker run --help' for more information", networkMissing},
		{"docker", "Error response from daemon: manifest for x:2 not found: manifest unknown: manifest unknown", imageMissing},
		{"docker", "Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest list entries", imageMissing},
		{"docker", "invalid reference format: repository name (library/UPPER) must be lowercase", imageMissing},
		{"docker", "Error response from daemon: name unknown: repository unknown", imageMissing},
		{"docker", "Error response from daemon: could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network", noAddresses},
		{"podman", "Error: could not find free subnet from subnet pools", noAddresses},
		{"docker", "Error response from daemon: Get \"https://x/v2/\": x509: certificate signed by unknown authority", distrusted},
		{"podman", "Error: initializing source docker://x: pinging container registry x: Get \"https://x/v2/\": http: server gave HTTP response to HTTPS client", distrusted},
		{"docker", "Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'", denied},
		{"docker", "Error response from daemon: Get \"http://127.0.0.1:1/v2/\": unauthorized: authentication required", denied},
		{"docker", "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": unauthorized: incorrect username or password", denied},
		{"docker", "Error response from daemon: Head \"http://x/v2/a/manifests/1\": no basic auth credentials", denied},
		{"docker", "Error response from daemon: login attempt to http://x/v2/ failed with status: 401 Unauthorized", denied},
		{"docker", "Error response from daemon: Head \"https://x\": denied: denied", denied},
		{"docker", "unexpected status from HEAD request to https://x: 403 Forbidden", denied},
		{"docker", "Error response from daemon: Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io on 10.0.0.1:53: no such host", network},
		{"docker", "Error response from daemon: Get \"http://127.0.0.1:9/v2/\": dial tcp 127.0.0.1:9: connect: connection refused", network},
		{"docker", "Error response from daemon: Get \"https://x/v2/\": net/http: TLS handshake timeout", network},
		{"docker", "Error response from daemon: Get \"https://x/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)", network},
		{"docker", "read tcp 10.0.0.1:5->10.0.0.2:443: read: connection reset by peer", network},
		{"docker", "Get \"https://x/v2/\": EOF", network},
		{"docker", "received unexpected HTTP status: 503 Service Unavailable", network},
		{"docker", "Error response from daemon: toomanyrequests: You have reached your pull rate limit", network},
		{"docker", "failed to register layer: write /big: no space left on device", noSpace},
		{"docker", "something else", unknown},

		{"podman", "Cannot connect to Podman. Please verify your connection to the Linux system", unavailable},
		{"podman", "Error: unable to connect to Podman socket: dial unix", unavailable},
		{"podman", "Error: no container with name or ID \"nosuch\" found: no such container", gone},
		{"podman", "Error: inspecting object: no such container nosuch", gone},
		{"podman", "Error: inspecting object: no such object: \"nosuch\"", gone},
		{"podman", "Error: inspecting object: nosuch: image not known", imageMissing},
		{"podman", "Error: short-name \"nosuch/image:1\" did not resolve to an alias and no unqualified-search registries are defined", imageMissing},
		{"podman", "Error: repository name must be lowercase", imageMissing},
		{"podman", "Error: initializing source docker://127.0.0.1:5/x:2: reading manifest 2 in 127.0.0.1:5/x: manifest unknown", imageMissing},
		{"podman", "Error: initializing source docker://127.0.0.1:5/x:2: reading manifest 2 in 127.0.0.1:5/x: unauthorized: authentication required", denied},
		{"podman", "Error: logging into \"127.0.0.1:5\": invalid username/password", denied},
		{"podman", "Error: initializing source docker://localhost:9/foo:latest: pinging container registry localhost:9: Get \"https://localhost:9/v2/\": dial tcp 127.0.0.1:9: connect: connection refused", network},
		{"podman", "Error: unknown flag: --nope\nSee 'podman run --help'", badOption},
		{"podman", "Error: invalid value for memory: invalid size: 'xx'", badOption},
		{"podman", "Error: invalid argument \"abc\" for \"--cpus\" flag: strconv.ParseFloat: parsing \"abc\": invalid syntax", badOption},
		{"podman", "Error: parsing host port: port numbers must be between 1 and 65535 (inclusive), got 99999", badOption},
		{"podman", "Error: running container create option: \"foo\" is not a valid restart policy: invalid argument", badOption},
		{"podman", "Error: \"CAP_FOO\": unknown capability", badOption},
		{"podman", "Error: --network-alias can only be set when the network mode is bridge: invalid argument", badOption},
		{"podman", "Error: stat /dev/nope: no such file or directory", badOption},
		{"podman", "Error: statfs /no/such: no such file or directory", badOption},
		{"podman", "Error: runc: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory: OCI runtime attempted to invoke a command that was not found", badCommand},
		{"podman", "Error: runc: runc create failed: exec: \"/etc/passwd\": permission denied: OCI permission denied", badCommand},
		{"podman", "Error: exec /agent: Exec format error", badCommand},
		{"podman", "Error: cannot listen on the TCP port: listen tcp4 :18080: bind: address already in use", portTaken},
		{"podman", "Error: rootlessport listen tcp 0.0.0.0:18080: bind: address already in use", portTaken},
		{"podman", "Error: image used by 82: image is in use by a container", inUse},
		{"podman", "Error: \"nn\" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used", inUse},
		{"podman", "Error: unable to find network with name or ID nosuch: network not found", networkMissing},
		{"podman", "Error: route ip+net: no such network interface", passing},
		{"podman", "Error: writing blob: storing blob to file \"/var/tmp/x\": write: no space left on device", noSpace},
	} {
		if got := differencesOf(c.engine).means(c.said); got != c.want {
			t.Errorf("%s: %q means %d, want %d", c.engine, c.said, got, c.want)
		}
	}
}

func TestFailureIsExplained(t *testing.T) {
	d := scripted(t, `echo "docker: Error response from daemon: port is already allocated" >&2; echo >&2; echo "Run 'docker run --help'" >&2; exit 125`)
	_, err := d.output(t.Context(), "run", "-d", "it's")
	var failed *CommandError
	if !errors.As(err, &failed) || failed.ExitCode != 125 || failed.Command != d.path+` run -d 'it'\''s'` {
		t.Fatalf("%#v", err)
	}
	if want := "port is already allocated"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	v := verdict.Of(err)
	if !errors.Is(err, engine.ErrPortTaken) || v.Command != failed.Command || v.Output != failed.Output || v.Hint == "" {
		t.Errorf("%+v", v)
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	d := scripted(t, "")
	d.path += "-not"
	if _, err := d.Info(context.Background()); !errors.Is(err, engine.ErrUnavailable) || verdict.Of(err).Whose != verdict.Infrastructure {
		t.Errorf("%v", err)
	}
}
