package kubetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed/kubenode"
)

// DropTo has everything dropped that the runner's pod sends to TCP ports of others, as a NetworkPolicy of the cluster would:
// the testbed's own node has no network that heeds one. end lets it through again.
func (r *Runner) DropTo(t testing.TB, first, last int) (end func()) {
	t.Helper()
	r.cluster.Own(t)
	l := r.inside.(*local)
	node := kubenode.Node{Dir: r.cluster.Dir}
	pid, err := os.ReadFile(filepath.Join(node.Bundle(l.container()), "init.pid"))
	if err != nil {
		t.Fatalf("finding the pod's network: %v", err)
	}
	ports := strconv.Itoa(first) + ":" + strconv.Itoa(last)
	change := func(what string) {
		out, err := exec.CommandContext(t.Context(), "nsenter", "--target", strings.TrimSpace(string(pid)), "--net", "--",
			"iptables", "-w", what, "OUTPUT", "!", "-o", "lo", "-p", "tcp", "--dport", ports, "-j", "DROP").CombinedOutput()
		if err != nil {
			t.Errorf("cutting the pod off: %v: %s", err, out)
		}
	}
	change("-A")
	return func() { change("-D") }
}
