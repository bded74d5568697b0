package e2e

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/testbed"
)

func TestPortsInEveryForm(t *testing.T) {
	inTurn(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		fixed, local, own := freePort(t), freePort(t), freePort(t)
		redis := func(mappings ...string) hook.Container {
			return hook.Container{Image: testbed.Redis, PortMappings: mappings}
		}
		job := r.JobContainer(testbed.Alpine)
		job.PortMappings = []string{own + ":8080"}
		udp := redis("53/udp", "6379/tcp")
		res := ok(t, r.Prepare(ctx(t), job, redis("6379"), redis(fixed+":6379/tcp"), redis("127.0.0.1:"+local+":6379"), udp, redis()))
		services := res.Response.Context.Services
		if services[1].Ports["6379"] != fixed || services[2].Ports["6379"] != local {
			t.Errorf("ports: %+v, want %s and %s", services, fixed, local)
		}
		if len(services[3].Ports) != 2 || services[3].Ports["53"] == "" {
			t.Errorf("ports of tcp and udp: %+v", services[3].Ports)
		}
		if services[4].Ports == nil || len(services[4].Ports) != 0 {
			t.Errorf("ports of a service without any: %+v", services[4].Ports)
		}
		for i := range 4 {
			if answer := ask(t, "tcp", services[i].Ports["6379"], "PING\r\n"); answer != "+PONG" {
				t.Errorf("service %d answers %q on the host", i+1, answer)
			}
		}
		ok(t, r.RunScript(ctx(t), "nc -ll -p 8080 -e /bin/echo from the job &"))
		got := ""
		eventually(t, "the job container's port answers", func() bool {
			conn, err := net.Dial("tcp", "127.0.0.1:"+own)
			if err != nil {
				return false
			}
			defer conn.Close()
			text := make([]byte, 100)
			n, _ := conn.Read(text)
			got = string(text[:n])
			return n > 0
		})
		if got != "from the job\n" {
			t.Errorf("the job container's port says %q", got)
		}
	})
}

func TestAHostPortThatIsTakenFailsClearly(t *testing.T) {
	inTurn(t, func(t *testing.T, e *testbed.Engine) {
		r := newRunner(t, e)
		port := freePort(t)
		redis := hook.Container{Image: testbed.Redis, PortMappings: []string{port + ":6379"}}
		failsWith(t, r.Prepare(ctx(t), nil, redis, redis), 1, "gantry: workflow:", "service redis", port, "hint:")
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
	})
}

// Rootless Podman 4.3 leaves its name server in ruins when it finds out by itself.
func TestAHostPortOfSomebodyElseFailsClearlyAndHarmsNoLaterJob(t *testing.T) {
	inTurn(t, func(t *testing.T, e *testbed.Engine) {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		r := newRunner(t, e)
		redis := hook.Container{Image: testbed.Redis}
		taken := redis
		taken.PortMappings = []string{port + ":6379"}
		failsWith(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), redis, taken), 1, "gantry: workflow:", "service redis-1", port, "hint:")
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), redis))
		if got := stdout(t, r, `printf 'PING\r\n' | nc redis 6379`); got != "+PONG\r\n" {
			t.Errorf("in the next job the service says %q", got)
		}
	})
}

// What nobody can know before, because a port is taken in the last moment, is mended: here, because gantry does not look at ranges.
func TestAPortThatIsTakenInTheLastMomentHarmsNoLaterJob(t *testing.T) {
	inTurn(t, func(t *testing.T, e *testbed.Engine) {
		first, taken := twoPorts(t)
		r := newRunner(t, e)
		redis := hook.Container{Image: testbed.Redis}
		refused := redis
		refused.PortMappings = []string{first + "-" + taken + ":6379-6380"}
		failsWith(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), redis, refused), 1, "gantry: workflow:", "service redis-1", taken, "hint:")
		ok(t, r.Cleanup(ctx(t)))
		noLeftovers(t, e, r)
		for range 2 {
			ok(t, r.Prepare(ctx(t), r.JobContainer(testbed.Busybox), redis))
			if got := stdout(t, r, `printf 'PING\r\n' | nc redis 6379`); got != "+PONG\r\n" {
				t.Errorf("in the next job the service says %q", got)
			}
			ok(t, r.Cleanup(ctx(t)))
		}
	})
}

// twoPorts are neighbours, of which the second is taken.
func twoPorts(t *testing.T) (free, taken string) {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		port := l.Addr().(*net.TCPAddr).Port
		before, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port-1))
		if err == nil {
			before.Close()
			return strconv.Itoa(port - 1), strconv.Itoa(port)
		}
	}
	t.Fatal("there are no two free ports beside each other")
	return "", ""
}

func TestAMistakeInPortsIsNamed(t *testing.T) {
	e := testbed.Engines(t)[0]
	for _, mapping := range []string{"eighty", "80:", "70000", "80/ip", "1:2:3:4", "-1"} {
		r := newRunner(t, e)
		res := r.Prepare(ctx(t), r.JobContainer(testbed.Alpine), hook.Container{Image: testbed.Redis, PortMappings: []string{mapping}})
		failsWith(t, res, 1, "gantry: workflow:", "services[0].ports", mapping, "hint:")
		noLeftovers(t, e, r)
	}
}
