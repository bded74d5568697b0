package ocicli

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func TestDockerInfo(t *testing.T) {
	got, err := readDockerInfo([]byte(`{"ServerVersion":"28.1","CgroupVersion":"2","Driver":"overlay2","DockerRootDir":"/var/lib/docker",
		"SecurityOptions":["name=seccomp,profile=default","name=rootless","name=selinux"],"ClientInfo":{"Version":"28.2"}}`))
	want := engine.Info{
		ClientVersion: "28.2", ServerVersion: "28.1", Rootless: true, SELinux: true, CgroupVersion: "2",
		StorageDriver: "overlay2", StorageRoot: "/var/lib/docker",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// An older client succeeds without a daemon; Podman's stand-in for docker answers something else altogether.
func TestDockerInfoWithoutAServer(t *testing.T) {
	for answer, whose := range map[string]verdict.Whose{
		`{"ServerErrors":["Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"]}`: verdict.Infrastructure,
		`{"host":{},"version":{}}`: verdict.Configuration,
	} {
		_, err := readDockerInfo([]byte(answer))
		if !errors.Is(err, engine.ErrUnavailable) || verdict.Of(err).Whose != whose || verdict.Of(err).Hint == "" {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestDockerLists(t *testing.T) {
	got, err := readDockerContainers([]byte(`{"CreatedAt":"2026-11-21 17:34:02 +0000 UTC","ID":"e1","Image":"i","Labels":"a=b,c,d=e","Names":"n","State":"running","Status":"Up 2 minutes (healthy)"}
{"CreatedAt":"2026-11-21 18:34:02 +0100 CET","ID":"e2","Image":"i","Labels":"","Names":"m","State":"exited","Status":"Exited (3) 1 second ago"}
`))
	created := time.Date(2026, 11, 21, 17, 34, 2, 0, time.UTC)
	want := []engine.Container{
		{ID: "e1", Name: "n", Image: "i", Running: true, Health: "healthy", Labels: map[string]string{"a": "b,c", "d": "e"}, Created: created},
		{ID: "e2", Name: "m", Image: "i", Labels: map[string]string{}, Created: created},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	networks, err := readDockerNetworks([]byte(`{"CreatedAt":"2026-11-21 17:22:02.727204633 +0000 UTC","ID":"1e","Name":"net","Labels":"x=1"}`))
	if err != nil || len(networks) != 1 || networks[0].Labels["x"] != "1" || networks[0].Created.Nanosecond() != 727204633 {
		t.Errorf("%+v (%v)", networks, err)
	}
}

func TestHealthInStatus(t *testing.T) {
	for status, want := range map[string]string{
		"Up 1 second (health: starting)": "starting", "Up 1 second ago (starting)": "starting", "Up 3 hours (unhealthy)": "unhealthy",
		"Up 3 hours": "", "Exited (137) 2 days ago": "", "Up 3 hours (Paused)": "", "": "",
	} {
		if got := healthIn(status); got != want {
			t.Errorf("%q: %q, want %q", status, got, want)
		}
	}
}

func TestPorts(t *testing.T) {
	var i inspected
	if err := json.Unmarshal([]byte(`{"NetworkSettings":{"Ports":{
		"80/tcp":[{"HostIp":"::","HostPort":"8001"},{"HostIp":"0.0.0.0","HostPort":"8000"}],
		"53/udp":[{"HostIp":"","HostPort":"5300"}], "53/tcp":[{"HostIp":"","HostPort":"5301"}],
		"54/udp":[{"HostIp":"::1","HostPort":"5400"}], "9000/tcp":null}}}`), &i); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"80": "8000", "53": "5301", "54": "5400"}, i.ports()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Gantry probes more often than the check's interval says; failures count only at that interval, after the start
// period.
func TestFailuresThatCount(t *testing.T) {
	check := &healthcheck{Interval: 10 * time.Second, StartPeriod: 25 * time.Second, Retries: 2}
	start := time.Now()
	m := &member{}
	m.seen.Config.Healthcheck = check
	m.since(start)
	for second := range 60 {
		m.failed(start.Add(time.Duration(second)*time.Second), check)
		if want := second >= 35; (m.health(true) == "unhealthy") != want {
			t.Fatalf("after %d s it is %s", second, m.health(true))
		}
	}
	m.passed = true
	if m.health(true) != "healthy" {
		t.Error("one success is enough")
	}
}

func TestHealthcheckDefaults(t *testing.T) {
	h := &healthcheck{Test: []string{"CMD", "true"}}
	if h.interval() != 30*time.Second || h.retries() != 3 || !h.declared() {
		t.Errorf("%+v", h)
	}
	for _, none := range []*healthcheck{nil, {}, {Test: []string{"NONE"}}} {
		if none.declared() {
			t.Errorf("%+v is no check", none)
		}
	}
}

func TestEndedExplains(t *testing.T) {
	d := scripted(t, "echo the log")
	for state, word := range map[string]string{
		`{"ExitCode":3}`:                            "status 3",
		`{"ExitCode":137,"OOMKilled":true}`:         "memory",
		`{"ExitCode":128,"Error":"engine's words"}`: "engine's words",
	} {
		m := &member{spec: engine.ContainerSpec{Title: "service db", Image: "db:1", Name: "db_1"}}
		if err := json.Unmarshal([]byte(state), &m.seen.State); err != nil {
			t.Fatal(err)
		}
		err := d.ended(t.Context(), m)
		v := verdict.Of(err)
		if !errors.Is(err, engine.ErrUnhealthy) || !strings.Contains(err.Error(), word) || !strings.Contains(v.Output, "the log") || v.Hint == "" {
			t.Errorf("%s: %+v", state, v)
		}
	}
}

func TestLastWords(t *testing.T) {
	for said, want := range map[string]string{
		"": "", "one\ntwo\n": "two",
		"docker: no\n\nRun 'docker run --help' for more information\n":        "docker: no",
		"Error: unknown flag: --x\nSee 'podman run --help'":                   "Error: unknown flag: --x",
		"Error response from daemon: x\nexit status 1":                        "Error response from daemon: x",
		"Error response from daemon: y\nError: failed to start containers: c": "Error response from daemon: y",
		strings.Repeat("x", 500):                                              strings.Repeat("x", 400) + "…",
	} {
		if got := lastWords(said); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}
