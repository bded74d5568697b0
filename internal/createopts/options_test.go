package createopts_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/createopts"
)

func parse(t *testing.T, text string) *createopts.Options {
	t.Helper()
	o, err := createopts.Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return o
}

// Of a flag that is meant to come once, the last use counts, as for the engines.
func TestLastOneCounts(t *testing.T) {
	o := parse(t, "--name a -m 1g --cpus 1 -u 0 --name b --memory 2g --cpus=1.5 --user me:staff -w /a --workdir /b "+
		"--entrypoint x --entrypoint y --hostname h -h i")
	got := []string{o.Name(), o.Memory(), o.CPUs(), o.User(), o.Workdir(), o.Entrypoint(), o.Hostname()}
	want := []string{"b", "2g", "1.5", "me:staff", "/b", "y", "i"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrivileged(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "--privileged": true, "--privileged=true": true, "--privileged=false": false,
		"--privileged=false --privileged": true, "--privileged --privileged=F": false,
	} {
		if got := parse(t, text).Privileged(); got != want {
			t.Errorf("%q: privileged %v, want %v", text, got, want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for _, tt := range []struct {
		text, network string
		aliases       []string
	}{
		{"", "", nil},
		{"--network host", "host", nil},
		{"--net=none", "none", nil},
		{"--network container:abc", "container:abc", nil},
		{"--network ns:/proc/1/ns/net", "ns:/proc/1/ns/net", nil},
		{"--network mine --network-alias db --network-alias pg", "mine", []string{"db", "pg"}},
		{"--network name=mine,alias=db,alias=pg", "mine", []string{"db", "pg"}},
		{"--network mine:alias=db,ip=10.1.2.3", "mine", []string{"db"}},
		{"--network slirp4netns:port_handler=slirp4netns", "slirp4netns", nil},
		{"--network a --network b", "a", nil},
	} {
		o := parse(t, tt.text)
		if o.Network() != tt.network {
			t.Errorf("%q: network %q, want %q", tt.text, o.Network(), tt.network)
		}
		if diff := cmp.Diff(tt.aliases, o.NetworkAliases()); diff != "" {
			t.Errorf("%q: aliases: %s", tt.text, diff)
		}
	}
}

func TestHealth(t *testing.T) {
	got := parse(t, `--health-cmd "pg_isready -U x" --health-interval 1s --health-timeout 2s --health-retries 3 `+
		`--health-start-period 4s --health-start-interval 5s`).Health()
	want := createopts.Health{Cmd: "pg_isready -U x", Interval: "1s", Timeout: "2s", Retries: "3", StartPeriod: "4s",
		StartInterval: "5s"}
	if got != want {
		t.Errorf("got %+v", got)
	}
	if !parse(t, "--no-healthcheck").Health().Disabled || !parse(t, "--health-cmd none").Health().Disabled {
		t.Error("a check that is switched off is not reported so")
	}
}

func TestMounts(t *testing.T) {
	o := parse(t, `-v a:/b --volume /c --mount type=bind,src=/x,dst=/y,readonly --mount "type=bind,\"source=/a,b\",target=/c" `+
		`--mount src=vol,target=/v,ro=false,volume-driver=local,volume-opt=device=/etc,volume-opt=o=bind`)
	if diff := cmp.Diff([]string{"a:/b", "/c"}, o.Volumes()); diff != "" {
		t.Error(diff)
	}
	want := []createopts.MountFlag{
		{Type: "bind", Source: "/x", Target: "/y", ReadOnly: true},
		{Type: "bind", Source: "/a,b", Target: "/c"},
		{Type: "volume", Source: "vol", Target: "/v", Devices: []string{"/etc"}},
	}
	if diff := cmp.Diff(want, o.Mounts()); diff != "" {
		t.Error(diff)
	}
}

func TestEnvAndLabels(t *testing.T) {
	o := parse(t, "-e A=1 --env B -l a=1 --label b --label a=2")
	if diff := cmp.Diff([]string{"A=1", "B"}, o.Env()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "2", "b": ""}, o.Labels()); diff != "" {
		t.Error(diff)
	}
}

func TestForeignTo(t *testing.T) {
	o := parse(t, "--cpus 1 --pod x --link y")
	for engine, want := range map[createopts.Engines]string{createopts.Docker: "pod", createopts.Podman: "link"} {
		if got := o.ForeignTo(engine); len(got) != 1 || got[0].Name != want {
			t.Errorf("foreign to %d: %v, want %s", engine, got, want)
		}
	}
}
