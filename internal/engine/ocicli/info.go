package ocicli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// infoReader asks an engine who it is.
type infoReader struct {
	args []string
	read func(answer []byte) (engine.Info, error)
	// socketArgs, if any, answer with the address of the API.
	socketArgs []string
}

// Info is part of engine.Engine.
func (d *Driver) Info(ctx context.Context) (engine.Info, error) {
	var info engine.Info
	var address []byte
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		answer, err := d.output(ctx, d.diff.info.args...)
		if err == nil {
			info, err = d.diff.info.read(answer)
		}
		if err != nil {
			return fmt.Errorf("asking %s about itself: %w", d.diff.name, err)
		}
		return nil
	})
	if len(d.diff.info.socketArgs) > 0 {
		g.Go(func() (err error) {
			address, err = d.output(ctx, d.diff.info.socketArgs...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return engine.Info{}, err
	}
	info.Name, info.Path = d.diff.name, d.path
	if len(address) > 0 {
		info.Socket = strings.TrimSpace(string(address))
	}
	info.Socket = localSocket(info.Socket)
	return info, nil
}

// localSocket gives the path of a socket that is there, "" for other addresses.
func localSocket(address string) string {
	path, isUnix := strings.CutPrefix(address, "unix://")
	if !isUnix && !strings.HasPrefix(address, "/") {
		return ""
	}
	if stat, err := os.Stat(path); err != nil || stat.Mode()&os.ModeSocket == 0 {
		return ""
	}
	return path
}

func readDockerInfo(answer []byte) (engine.Info, error) {
	var said struct {
		ServerVersion, CgroupVersion, Driver, DockerRootDir string
		SecurityOptions, ServerErrors                       []string
		ClientInfo                                          struct{ Version string }
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return engine.Info{}, fmt.Errorf("reading its answer: %w", err)
	}
	if trouble := strings.Join(said.ServerErrors, "; "); trouble != "" {
		c := docker().means(trouble).consequence()
		return engine.Info{}, verdict.New(verdict.Infrastructure, c.hint, "%w: %s", engine.ErrUnavailable, trouble)
	}
	if said.ServerVersion == "" {
		return engine.Info{}, verdict.New(verdict.Configuration, "if docker is Podman's stand-in here (podman-docker), set engine to podman",
			"%w: it names no version of a server", engine.ErrUnavailable)
	}
	info := engine.Info{
		ClientVersion: said.ClientInfo.Version,
		ServerVersion: said.ServerVersion,
		CgroupVersion: said.CgroupVersion,
		StorageDriver: said.Driver,
		StorageRoot:   said.DockerRootDir,
	}
	for _, option := range said.SecurityOptions {
		name, _, _ := strings.Cut(option, ",")
		info.Rootless = info.Rootless || name == "name=rootless"
		info.SELinux = info.SELinux || name == "name=selinux"
	}
	return info, nil
}

func readPodmanInfo(answer []byte) (engine.Info, error) {
	var said struct {
		Host struct {
			CgroupVersion string
			Security      struct{ Rootless, SelinuxEnabled bool }
			RemoteSocket  struct{ Path string }
		}
		Store   struct{ GraphDriverName, GraphRoot string }
		Version struct{ Version string }
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return engine.Info{}, fmt.Errorf("reading its answer: %w", err)
	}
	return engine.Info{
		ClientVersion: said.Version.Version,
		ServerVersion: said.Version.Version,
		Rootless:      said.Host.Security.Rootless,
		CgroupVersion: strings.TrimPrefix(said.Host.CgroupVersion, "v"),
		StorageDriver: said.Store.GraphDriverName,
		StorageRoot:   said.Store.GraphRoot,
		SELinux:       said.Host.Security.SelinuxEnabled,
		Socket:        said.Host.RemoteSocket.Path,
	}, nil
}

// jsonLines reads one value a line.
func jsonLines[T any](answer []byte) ([]T, error) {
	var rows []T
	for line := range bytes.Lines(answer) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var row T
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("reading the engine's answer: %w", err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// jsonList reads an array; no answer is an empty one.
func jsonList[T any](answer []byte) ([]T, error) {
	if len(bytes.TrimSpace(answer)) == 0 {
		return nil, nil
	}
	var rows []T
	if err := json.Unmarshal(answer, &rows); err != nil {
		return nil, errors.Join(errors.New("reading the engine's answer"), err)
	}
	return rows, nil
}
