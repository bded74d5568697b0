package ocicli

import (
	"errors"
	"net"
	"testing"

	"github.com/gantry-ci/gantry/internal/engine"
)

func TestOnlyAHostPortThatIsTakenIsAnError(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, port, err := net.SplitHostPort(tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := &Driver{diff: podman()}
	for text, taken := range map[string]bool{
		port + ":80": true, "127.0.0.1:" + port + ":80": true, port + ":80/udp": false, "80": false, "0:80": false, "127.0.0.2:" + port + ":80": false,
		"not a port": false,
	} {
		err := d.checkHostPorts(engine.JobSpec{Services: []engine.ContainerSpec{{Ports: []string{text}}}})
		if errors.Is(err, engine.ErrPortTaken) != taken || taken != (err != nil) {
			t.Errorf("%s: %v", text, err)
		}
	}
	d.env = []string{"CONTAINER_HOST=ssh://elsewhere"}
	if err := d.checkHostPorts(engine.JobSpec{Services: []engine.ContainerSpec{{Ports: []string{port + ":80"}}}}); err != nil {
		t.Errorf("a port of another machine: %v", err)
	}
}
