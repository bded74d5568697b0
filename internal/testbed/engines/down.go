package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/daemon"
)

// dirPrefix begins the names of beds' directories. Short: the path of a socket may have 107 bytes.
const dirPrefix = "gtb-"

// downLimit bounds what the engines are given to remove their containers and networks.
const downLimit = 45 * time.Second

// Down ends everything and deletes the bed's directory. It goes on after errors and may be called again.
func (b *Bed) Down() error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), downLimit)
	defer cancel()
	var emptied sync.WaitGroup
	var nodeErr error
	for _, engine := range b.state.Facts.Engines() {
		emptied.Go(func() { b.empty(ctx, engine) })
	}
	emptied.Go(func() { nodeErr = b.endKubernetes(ctx) })
	emptied.Wait()
	for _, p := range b.state.Processes {
		p.End(15 * time.Second)
	}
	killAllIn(b.Dir)
	err := errors.Join(nodeErr, b.dropBridge(), unmountAllIn(b.Dir), removeDir(b.Dir))
	fmt.Fprintf(b.talk, "testbed: down in %.1f s\n", time.Since(begin).Seconds())
	return err
}

// dropBridge deletes the bridge of the bed's Docker, unless it went with the bed's network: the machine's own Docker has
// one of the same name.
func (b *Bed) dropBridge() error {
	network, err := daemon.Network()
	if err != nil || network != b.state.Network {
		return err
	}
	return dropBridge(b.state.Bridge)
}

// empty removes all containers and networks of an engine. What does not succeed is only told: the engine's
// processes and files go in any case.
func (b *Bed) empty(ctx context.Context, engine *testbed.Engine) {
	ids, err := ask(ctx, engine, "ps", "--all", "--quiet")
	if err == nil && strings.TrimSpace(ids) != "" {
		err = run(ctx, engine, append(forceRemove()[engine.Name], strings.Fields(ids)...)...)
	}
	err = errors.Join(err, run(ctx, engine, "network", "prune", "--force"))
	if err != nil {
		fmt.Fprintf(b.talk, "testbed: emptying %s: %v\n", engine.Label, err)
	}
}

// forceRemove is how each engine removes running containers at once: Podman would wait ten seconds for each.
func forceRemove() map[string][]string {
	return map[string][]string{
		"docker": {"rm", "--force", "--volumes"},
		"podman": {"rm", "--force", "--volumes", "--time", "0"},
	}
}

// EndStale ends the beds of testbed commands that were killed before they could.
func EndStale(talk io.Writer) {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		bed, err := Open(dir, talk)
		if err != nil || bed.state.Keep || bed.state.Owner.Alive() {
			continue
		}
		fmt.Fprintf(talk, "testbed: ending %s, whose owner was killed\n", dir)
		if err := bed.Down(); err != nil {
			fmt.Fprintf(talk, "testbed: %v\n", err)
		}
	}
}
