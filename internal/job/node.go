package job

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gantry-ci/gantry/internal/job/process"
)

// runNode runs a JavaScript action (NodeScriptActionHandler.cs).
func (x *execution) runNode(ctx context.Context, s stage, inputs []pair) error {
	a := x.use.action.Node
	file := map[stage]string{pre: a.Pre, main: a.Main, post: a.Post}[s]
	script := filepath.Join(x.use.dir, file)
	if _, err := os.Stat(script); err != nil {
		return fmt.Errorf("File not found: '%s'", script)
	}
	version := x.nodeVersion(a.Using)
	program, err := x.node(version)
	if err != nil {
		return err
	}
	var options []string
	if version == "node24" && truthy(process.Lookup(x.opts.Environ, "ACTIONS_RUNNER_DISABLE_NODE_MAGLEV")) {
		options = []string{"--no-maglev"}
	}
	env := slices.DeleteFunc(x.variables(inputVariables(inputs)), func(p pair) bool { return p.name == "NODE_ICU_DATA" })
	if x.container != nil {
		if x.container.alpine {
			version += "_alpine"
		}
		line := strings.Join(append(options, x.resolve(script)), " ")
		return x.inContainer(ctx, "/__e/"+version+"/bin/node", line, x.dirs.Workspace, env)
	}
	exit, err := x.onHost(ctx, program, append(options, script), x.dirs.Workspace, env)
	if err == nil && exit != 0 {
		return errFailed
	}
	return err
}

// nodeVersion is the node that the runner has for what an action asks for (NodeUtil.cs). What the server decides about
// it is left out.
func (x *execution) nodeVersion(using string) string {
	const force = "FORCE_JAVASCRIPT_ACTIONS_TO_NODE24"
	forced, ok := x.lookupEnv(force)
	if !ok {
		forced = process.Lookup(x.opts.Environ, force)
	}
	if using == "node24" || truthy(forced) {
		return "node24"
	}
	return "node20"
}

// node gives the node program in the runner's externals. If it is not there, that of the options is copied.
func (x *execution) node(version string) (string, error) {
	once, _ := x.nodes.LoadOrStore(version, sync.OnceValues(func() (string, error) { return x.installNode(version) }))
	return once.(func() (string, error))()
}

func (x *execution) installNode(version string) (string, error) {
	program := filepath.Join(x.dirs.Externals, version, "bin/node")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	source, ok := x.findNode(version)
	if !ok {
		return "", fmt.Errorf("the action '%s' needs %s, and there is none: name a node program, or a runner's externals (--node)",
			x.use.name(), version)
	}
	alpine, ok := x.findNode(version + "_alpine")
	if !ok {
		alpine = source
	}
	for into, from := range map[string]string{version: source, version + "_alpine": alpine} {
		if err := copyProgram(from, filepath.Join(x.dirs.Externals, into, "bin/node")); err != nil {
			return "", fmt.Errorf("copying node to the runner's externals: %w", err)
		}
	}
	return program, nil
}

func (x *execution) findNode(version string) (string, bool) {
	if x.opts.Node == nil {
		return "", false
	}
	return x.opts.Node(version)
}

// copyProgram copies a program, as a link to a file of the host means nothing in a container.
func copyProgram(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}
