package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/policy"
)

// request makes a request with create flags.
func request(t *testing.T, options string) policy.Request {
	t.Helper()
	o, err := createopts.Parse(options)
	if err != nil {
		t.Fatalf("%q: %v", options, err)
	}
	return policy.Request{Title: "job container", Image: "node:22", Options: o}
}

// with makes a valid configuration.
func with(t *testing.T, change func(*config.Config)) *config.Config {
	t.Helper()
	c := config.Default()
	change(c)
	if problems := c.Validate(); len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

func denied(c *config.Config, r policy.Request) bool { return len(policy.Check(c, r)) > 0 }

func TestNothingIsDeniedByDefault(t *testing.T) {
	r := request(t, "--privileged --pid=host -v /:/host -v /var/run/docker.sock:/s --volumes-from x")
	r.Image, r.Step = "evil.example.com/x", true
	if all := policy.Check(config.Default(), r); len(all) > 0 {
		t.Errorf("the defaults deny %v", all)
	}
}

func TestAllowedImages(t *testing.T) {
	const digest = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for _, tt := range []struct {
		rule, image string
		allowed     bool
	}{
		{"node", "node", true},
		{"node", "node:22", true},
		{"node", "node" + digest, true},
		{"node", "docker.io/library/node:22", true},
		{"node", "docker.io/node:22", true},
		{"node", "index.docker.io/library/node", true},
		{"node", "library/node", true},
		{"node", "nodes", false},
		{"node", "acme/node", false},
		{"node", "ghcr.io/library/node", false},
		{"node", "ghcr.io/node", false},
		{"node:*", "node", true},
		{"node:latest", "node", true},
		{"node:22", "node", false},
		{"node:22", "node:22", true},
		{"node:22", "node:22-alpine", false},
		{"node:22*", "docker.io/library/node:22-alpine", true},
		{"node@sha256:*", "node:22" + digest, true},
		{"node@sha256:*", "node:22", false},
		{"node:22", "node:22" + digest, false}, // the digest says what it is, whatever the tag
		{"docker.io/library/*", "node:22", true},
		{"docker.io/library/node", "node:22", true},
		{"docker.io/*", "acme/tool", false},
		{"docker.io/**", "acme/tool", true},
		{"acme/*", "acme/tool:1", true},
		{"acme/*", "evil.example.com/acme/tool", false},
		{"acme/*", "acme/a/b", false},
		{"ghcr.io/acme/**", "ghcr.io/acme/a/b:1", true},
		{"ghcr.io/acme/**", "GHCR.io/acme/a", true},
		{"ghcr.io/acme/**", "ghcr.io/acmeevil/a", false},
		{"ghcr.io/acme/**", "ghcr.io.evil.example.com/acme/a", false},
		{"ghcr.io/*/node", "ghcr.io/acme/node:22", true},
		{"localhost:5000/*", "localhost:5000/x:1", true},
		{"localhost:5000/*", "localhost:5001/x:1", false},
		{"*", "node:22", true},
		{"*", "acme/node", false},
		{"**", "ghcr.io/a/b:1" + digest, true},
	} {
		c := with(t, func(c *config.Config) { c.Policy.Images = []string{"nothing", tt.rule} })
		if got := !denied(c, policy.Request{Image: tt.image}); got != tt.allowed {
			t.Errorf("rule %s, image %s: allowed %v, want %v", tt.rule, tt.image, got, tt.allowed)
		}
	}
}

func TestImagesOfDockerfilesAndMountsAreJudged(t *testing.T) {
	c := with(t, func(c *config.Config) { c.Policy.Images = []string{"node"} })
	for _, tt := range []struct {
		request policy.Request
		denied  bool
	}{
		{policy.Request{BaseImages: []string{"node:22", "node"}}, false},
		{policy.Request{BaseImages: []string{"node:22", "golang"}}, true},
		{policy.Request{}, false},
		{request(t, "--mount type=image,source=evil,target=/x"), true},
		{request(t, "--mount type=image,source=node,target=/x"), false},
	} {
		if got := denied(c, tt.request); got != tt.denied {
			t.Errorf("%+v: denied %v, want %v", tt.request, got, tt.denied)
		}
	}
}

func TestRequireDigest(t *testing.T) {
	c := with(t, func(c *config.Config) { c.Policy.RequireDigest = true })
	hex := strings.Repeat("0123456789abcdef", 4)
	for image, want := range map[string]bool{
		"node": true, "node:22": true, "node@sha256:" + hex: false, "node:22@sha256:" + hex: false,
		"node@sha256:" + hex[1:]: true, "node@sha512:" + hex + hex: false, "node@md5:abc": true, "": false,
	} {
		if got := denied(c, policy.Request{Image: image}); got != want {
			t.Errorf("%q: denied %v, want %v", image, got, want)
		}
	}
}

func TestDenyFlags(t *testing.T) {
	for _, tt := range []struct {
		rule, options string
		denied        bool
	}{
		{"--privileged", "--privileged", true},
		{"--privileged", "--privileged=true", true},
		{"--privileged", "--privileged=1", true},
		{"--privileged", "--privileged=false", false},
		{"--privileged=true", "--privileged", true},
		{"--privileged=false", "--privileged", false},
		{"--privileged", "--cpus 1", false},
		{"--privileged", "--health-cmd --privileged", false}, // a value, not a flag
		{"--pid=host", "--pid host", true},
		{"--pid=host", "--pid=host", true},
		{"--pid=host", "--pid container:x", false},
		{"--pid", "--pid container:x", true},
		{"--pid=*:*", "--pid container:x", true},
		{"--pid=host", "--pids-limit 5", false},
		{"--network=host", "--net host", true},
		{"--net=host", "--network=host", true},
		{"--network=host", "--network name=host,alias=x", true},
		{"--network=host", "--network hosted", false},
		{"--network=container:*", "--network container:abc", true},
		{"--volume", "-v a:/b", true},
		{"--volume", "-va:/b", true},
		{"-v", "--volume a:/b", true},
		{"--volume", "--mount type=bind,src=/a,dst=/b", true},
		{"--volume=/etc*", "--mount type=bind,src=/etc/x,dst=/b", true},
		{"--volume=/etc*", "-v /etc/x:/b", true},
		{"--volume=/etc*", "-v /srv:/etc", false},
		{"--mount", "-v a:/b", false},
		{"--publish", "-p 80:80", true},
		{"--publish", "-Pp 80:80", true},
		{"--cap-add=SYS_ADMIN", "--cap-add=SYS_ADMIN", true},
		{"--cap-add=SYS_ADMIN", "--cap-add cap_sys_admin", true},
		{"--cap-add=CAP_SYS_ADMIN", "--cap-add sys_admin", true},
		{"--cap-add=SYS_ADMIN", "--cap-add NET_RAW,SYS_ADMIN", true}, // Podman accepts lists
		{"--cap-add=SYS_ADMIN", "--cap-add ALL", true},
		{"--cap-add=SYS_*", "--cap-add SYS_PTRACE", true},
		{"--cap-add=SYS_*", "--cap-add NET_RAW", false},
		{"--cap-drop=NET_RAW", "--cap-drop ALL", false},
		{"--security-opt=seccomp=*", "--security-opt seccomp=unconfined", true},
		{"--security-opt=seccomp=*", "--security-opt seccomp:unconfined", true},
		{"--security-opt=seccomp=*", "--security-opt seccomp=/a/b.json", true},
		{"--security-opt=seccomp=*", "--security-opt label=disable", false},
		{"--env", "-e A=b", true},
		{"--device", "--device /dev/kvm", true},
	} {
		c := with(t, func(c *config.Config) { c.Policy.DenyFlags = []string{"--ipc=host", tt.rule} })
		if got := denied(c, request(t, tt.options)); got != tt.denied {
			t.Errorf("rule %s, options %s: denied %v, want %v", tt.rule, tt.options, got, tt.denied)
		}
	}
}

// `volumes:` and `ports:` are other ways to write --volume and --publish.
func TestDenyFlagsReachesVolumesAndPorts(t *testing.T) {
	r := policy.Request{Volumes: []hook.MountVolume{{SourceVolumePath: "/a", TargetVolumePath: "/b"}}, Ports: []string{"80:80"}}
	for rule, want := range map[string]int{"--volume": 1, "-p": 1, "--volume=/a:*": 1, "--publish=8080:*": 0, "--mount": 0} {
		c := with(t, func(c *config.Config) { c.Policy.DenyFlags = []string{rule} })
		if got := policy.Check(c, r); len(got) != want {
			t.Errorf("rule %s: %v, want %d violations", rule, got, want)
		}
	}
}

func TestDenyMounts(t *testing.T) {
	links := map[string]string{"/srv/link": "/etc/ssl", "/srv/plain": "/srv/plain"}
	for _, tt := range []struct {
		rule, options string
		denied        bool
	}{
		{"/etc", "-v /etc:/x", true},
		{"/etc", "-v /etc/:/x", true},
		{"/etc", "-v //etc:/x", true},
		{"/etc", "-v /etc/ssl:/x", true},
		{"/etc/shadow", "-v /etc:/x", true},
		{"/etc", "-v /:/x", true},
		{"/etc", "-v /srv/../etc:/x", true},
		{"/etc", "-v /srv/..:/x", true},
		{"/etc", "-v /etcetera:/x", false},
		{"/etc", "-v /srv:/etc", false},
		{"/etc", "-v etc:/x", false}, // a volume of that name
		{"/etc", "-v /etc", false},   // an anonymous volume at /etc
		{"/etc", "-v ../etc:/x", true},
		{"/etc", "--mount type=bind,src=/etc,dst=/x", true},
		{"/etc", "--mount type=bind,SOURCE=/etc,dst=/x", true},
		{"/etc", "--mount type=tmpfs,dst=/etc", false},
		{"/etc", "--mount type=volume,src=v,dst=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/etc", true},
		{"/etc/ssl", "--mount type=glob,src=/etc/s*,dst=/x", true},
		{"/etc", "-v /a:/x:O,upperdir=/etc,workdir=/b", true},
		{"/etc", "--env-file /etc/environment", true},
		{"/etc", "--env-file /srv/environment", false},
		{"/etc", "--volumes-from other", true},
		{"/dev/sd*", "--device /dev/sda:/dev/xvda:r", true},
		{"/dev/sd*", "--device /dev/kvm", false},
		{"/dev/sd*", "--device nvidia.com/gpu=all", false},
		{"/etc", "-v /proc/1/root/etc:/x", true},
		{"/etc", "-v /proc/1/root:/x", true},
		{"/etc", "-v /proc:/x", true},
		{"/etc", "-v /proc/self/cwd:/x", true},
		{"/etc", "-v /proc/cpuinfo:/x", false},
		{"/proc", "-v /proc/1/root/srv:/x", true},
		{"/run/secrets", "-v /var/run/secrets:/x", true},
		{"/var/run/secrets", "-v /run:/x", true},
		{"/etc", "-v /srv/link:/x", true},
		{"/etc", "-v /srv/plain:/x", false},
		{"/home/*/.ssh", "-v /home/me/.ssh/id:/x", true},
		{"/home/*/.ssh", "-v /home/me:/x", true},
		{"/home/*/.ssh", "-v /home:/x", true},
		{"/home/*/.ssh", "-v /home/me/.cache:/x", false},
		{"/home/**/.ssh", "-v /home/a/b/.ssh:/x", true},
		{"/home/**/.ssh", "-v /home/a/b:/x", false}, // above a "**" cannot be told
		{"/home/**/.ssh", "-v /home:/x", true},
		{"/srv/**", "-v /srv/a:/x", true},
		{"/srv/**", "-v /srv:/x", true},
		{"/srv/**", "-v /usr:/x", false},
		{"/", "-v /srv:/x", true},
		{"/", "-v vol:/x", false},
		{"prod-*", "-v prod-db:/x", true},
		{"prod-*", "--mount src=prod-db,dst=/x", true},
		{"prod-*", "-v test-db:/x", false},
		{"prod-*", "-v /prod-db:/x", false},
		{"/etc", "--cpus 1", false},
	} {
		c := with(t, func(c *config.Config) { c.Policy.DenyMounts = []string{"/nowhere/at/all", tt.rule} })
		r := request(t, tt.options)
		r.RealPath = func(path string) string { return links[path] }
		if got := denied(c, r); got != tt.denied {
			t.Errorf("rule %s, options %s: denied %v, want %v", tt.rule, tt.options, got, tt.denied)
		}
		if volume, ok := strings.CutPrefix(tt.options, "-v "); ok {
			r.Options, r.Volumes = nil, []hook.MountVolume{{UserProvidedValue: volume}}
			if got := denied(c, r); got != tt.denied {
				t.Errorf("rule %s, volumes %s: denied %v, want %v", tt.rule, volume, got, tt.denied)
			}
		}
	}
}

func TestDockerSocket(t *testing.T) {
	for options, want := range map[string]bool{
		"-v /var/run/docker.sock:/var/run/docker.sock": true,
		"-v /run/docker.sock:/x":                       true,
		"-v /var/run:/x":                               true,
		"-v /run:/x":                                   true,
		"-v /var:/x":                                   true,
		"-v /:/x":                                      true,
		"-v /srv/../run/./docker.sock:/x":              true,
		"-v /run/podman/podman.sock:/x":                true,
		"-v /run/user/1000/podman:/x":                  true,
		"-v /run/user/1000:/x":                         true,
		"-v /opt/engine:/x":                            true, // as the request says
		"-v /proc/1/root/run:/x":                       true,
		"-v ../../run:/x":                              true,
		"--mount type=bind,source=/run/docker.sock,target=/x":           true,
		"--mount src=v,dst=/x,volume-opt=device=/run,volume-opt=o=bind": true,
		"--volumes-from other":                           true,
		"--use-api-socket":                               true,
		"--use-api-socket=false":                         false,
		"-v /var/lib/x:/x":                               false,
		"-v /srv:/var/run/docker.sock":                   false,
		"-v docker.sock:/x":                              false,
		"-v /run/user/1000/cache:/x":                     false,
		"--device /dev/kvm --env-file list --tmpfs /run": false,
		"": false,
	} {
		r := request(t, options)
		r.Sockets = []string{"/opt/engine/api.sock"}
		c := with(t, func(c *config.Config) { c.DockerSocket = "deny" })
		if got := denied(c, r); got != want {
			t.Errorf("options %s: denied %v, want %v", options, got, want)
		}
		if denied(config.Default(), r) {
			t.Errorf("options %s: denied although docker_socket is pass", options)
		}
	}
}

func TestRequireJobContainer(t *testing.T) {
	c := with(t, func(c *config.Config) { c.Policy.RequireJobContainer = true })
	for _, tt := range []struct{ step, jobContainer, denied bool }{
		{true, false, true}, {true, true, false}, {false, false, false}, {false, true, false},
	} {
		r := policy.Request{Step: tt.step, JobContainer: tt.jobContainer}
		if got := denied(c, r); got != tt.denied {
			t.Errorf("%+v: denied %v", tt, got)
		}
	}
}

// A message names the container, what was written, the key and its value, and who can help; and all violations are
// told at once.
func TestViolationsSayAll(t *testing.T) {
	c := with(t, func(c *config.Config) {
		c.Policy.Images, c.Policy.RequireDigest = []string{"node"}, true
		c.Policy.DenyFlags, c.Policy.DenyMounts = []string{"--privileged"}, []string{"/etc"}
	})
	r := request(t, "--privileged -v /etc/../etc/ssl:/x")
	r.Title, r.Image = "service redis", "redis:7"
	var keys []string
	for _, v := range policy.Check(c, r) {
		keys = append(keys, v.Key)
		for _, part := range []string{"service redis", v.Key, v.Value, v.Offender, "administrator", "gantry.yaml"} {
			if !strings.Contains(v.Error(), part) {
				t.Errorf("%q does not say %q", v.Error(), part)
			}
		}
		t.Log(v)
	}
	want := []string{"policy.images", "policy.require_digest", "policy.deny_flags", "policy.deny_mounts"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
}
