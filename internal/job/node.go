package job

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// runNode runs a JavaScript action (NodeScriptActionHandler.cs).
func (x *execution) runNode(ctx context.Context, s stage, inputs []pair) error {
	a := x.use.action.Node
	file := map[stage]string{pre: a.Pre, main: a.Main, post: a.Post}[s]
	script := filepath.Join(x.use.dir, file)
	if _, err := os.Stat(script); err != nil {
		return fmt.Errorf("File not found: '%s'", script)
	}
	version := nodeVersion(a.Using)
	program, err := x.node(version)
	if err != nil {
		return err
	}
	env := slices.DeleteFunc(x.variables(inputVariables(inputs)), func(p pair) bool { return p.name == "NODE_ICU_DATA" })
	if x.container != nil {
		if x.container.alpine {
			version += "_alpine"
		}
		return x.inContainer(ctx, "/__e/"+version+"/bin/node", x.resolve(script), x.dirs.Workspace, env)
	}
	exit, err := x.onHost(ctx, program, []string{script}, x.dirs.Workspace, env)
	if err == nil && exit != 0 {
		return errFailed
	}
	return err
}

// nodeVersion is the node that the runner has for what an action asks for.
func nodeVersion(using string) string {
	if using == "node24" {
		return using
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
	source, ok := "", false
	if x.opts.Node != nil {
		source, ok = x.opts.Node(version)
	}
	if !ok {
		return "", fmt.Errorf("the action '%s' needs %s, and there is none: name a node program (--node)", x.use.name(), version)
	}
	for _, into := range []string{program, filepath.Join(x.dirs.Externals, version+"_alpine", "bin/node")} {
		if err := copyProgram(source, into); err != nil {
			return "", fmt.Errorf("copying node to the runner's externals: %w", err)
		}
	}
	return program, nil
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
