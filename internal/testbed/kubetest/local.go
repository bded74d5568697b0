package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/testbed/daemon"
	"github.com/gantry-ci/gantry/internal/testbed/kubenode"
)

// local is the inside of a pod on the testbed's own node, reached through the node's directory.
type local struct {
	cluster *Cluster
	pod     *corev1.Pod
	temp    string // a folder for files of commands
}

// container is the runtime's name of the runner's container.
func (l *local) container() string {
	for _, s := range l.pod.Status.ContainerStatuses {
		if s.Name == Container {
			return strings.TrimPrefix(s.ContainerID, "containerd://")
		}
	}
	return ""
}

func (l *local) command(ctx context.Context, p Program) (*Command, error) {
	dir, err := os.MkdirTemp(l.temp, "command-")
	if err != nil {
		return nil, fmt.Errorf("preparing a program in a pod: %w", err)
	}
	process := filepath.Join(dir, "process.json")
	if err := l.writeProcess(process, p); err != nil {
		return nil, fmt.Errorf("preparing a program in a pod: %w", err)
	}
	runc, err := daemon.Program("runc", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin")
	if err != nil {
		return nil, err
	}
	c := &Command{pidFile: filepath.Join(dir, "pid")}
	node := kubenode.Node{Dir: l.cluster.Dir}
	c.Cmd = exec.CommandContext(ctx, runc, "--root", node.Runtime(), "exec", "--process", process, "--pid-file", c.pidFile, l.container())
	c.WaitDelay = time.Second
	c.Cancel = func() error {
		_ = c.Signal(syscall.SIGKILL) // not yet there, or gone
		return c.Process.Kill()
	}
	return c, nil
}

// writeProcess writes what the container's first process is, with another program in its place.
func (l *local) writeProcess(file string, p Program) error {
	node := kubenode.Node{Dir: l.cluster.Dir}
	text, err := os.ReadFile(filepath.Join(node.Bundle(l.container()), "config.json"))
	if err != nil {
		return err
	}
	var bundle struct {
		Process map[string]any `json:"process"`
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		return err
	}
	var env []string
	for _, line := range bundle.Process["env"].([]any) {
		env = append(env, line.(string))
	}
	bundle.Process["args"], bundle.Process["terminal"] = p.Args, false
	bundle.Process["env"] = merged(env, p.Env)
	if p.Dir != "" {
		bundle.Process["cwd"] = p.Dir
	}
	if text, err = json.Marshal(bundle.Process); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// copyIn copies a folder into one that lies in a volume of the pod, for the runner's user.
func (l *local) copyIn(_ context.Context, from, to string, user int64) error {
	host, err := l.hostPath(to)
	if err != nil {
		return err
	}
	if err := os.CopyFS(host, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(host, func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, int(user), int(user)))
	})
}

// merged is an environment with each variable once, the later one.
func merged(env, more []string) []string {
	var all []string
	at := map[string]int{}
	for _, line := range append(append([]string{}, env...), more...) {
		name, _, _ := strings.Cut(line, "=")
		if i, ok := at[name]; ok {
			all[i] = line
			continue
		}
		at[name] = len(all)
		all = append(all, line)
	}
	return all
}

func (l *local) hostPath(path string) (string, error) {
	for _, c := range l.pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			rest, err := filepath.Rel(m.MountPath, path)
			if c.Name != Container || err != nil || !filepath.IsLocal(rest) {
				continue
			}
			if dir := l.volumeDir(m.Name); dir != "" {
				return filepath.Join(dir, rest), nil
			}
		}
	}
	return "", fmt.Errorf("%s lies in no volume of the runner's pod", path)
}

func (l *local) volumeDir(name string) string {
	node := kubenode.Node{Dir: l.cluster.Dir}
	for _, v := range l.pod.Spec.Volumes {
		switch {
		case v.Name != name:
		case v.EmptyDir != nil:
			return node.EmptyDir(string(l.pod.UID), name)
		case v.HostPath != nil:
			return v.HostPath.Path
		case v.PersistentVolumeClaim != nil:
			return l.cluster.volumeFolder(v.PersistentVolumeClaim.ClaimName)
		}
	}
	return ""
}
