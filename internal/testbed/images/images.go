// Package images makes the test images, offline: from Debian's busybox-static, the machine's own bash and three
// Go programs below this directory. Every engine loads the same archive, so an image has the same ID everywhere.
//
// The archive is Docker's own format because it keeps health checks, which OCI images cannot hold.
package images

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// Image is an image in memory.
type Image struct {
	Name   string // "gantry.test/busybox:1"
	Config Blob
	Layers []Blob // uncompressed tar files
}

// settings are what an image says about its containers, in the words of Docker's image configuration.
type settings struct {
	Env          []string `json:",omitempty"`
	Entrypoint   []string `json:",omitempty"`
	Cmd          []string `json:",omitempty"`
	User         string   `json:",omitempty"`
	WorkingDir   string   `json:",omitempty"`
	ExposedPorts set      `json:",omitempty"`
	Volumes      set      `json:",omitempty"`
	Healthcheck  *health  `json:",omitempty"`
}

type set map[string]struct{}

type health struct {
	Test     []string
	Interval time.Duration
	Timeout  time.Duration
	Retries  int
}

// config is an image configuration as Docker writes it.
type config struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Created      time.Time `json:"created"`
	Config       settings  `json:"config"`
	RootFS       rootFS    `json:"rootfs"`
	History      []history `json:"history"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// All makes every image. It needs the go command, with the module's root at or above the working directory, and
// the programs busybox (static) and bash.
func All(ctx context.Context) ([]Image, error) {
	layers, err := buildLayers(ctx)
	if err != nil {
		return nil, fmt.Errorf("making the test images: %w", err)
	}
	plan := planImages(layers)
	images := make([]Image, len(plan))
	for i, p := range plan {
		if images[i], err = newImage(p); err != nil {
			return nil, fmt.Errorf("making the test image %s: %w", p.name, err)
		}
	}
	return images, nil
}

type planned struct {
	name     string
	settings settings
	layers   []Blob
}

func planImages(l layers) []planned {
	path := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	shell := settings{Env: path, Cmd: []string{"/bin/sh"}}
	base := []Blob{l.busybox}
	nonroot := shell
	nonroot.User = "1234:1234"
	return []planned{
		{testbed.Busybox, shell, base},
		{testbed.Bash, settings{Env: path, Cmd: []string{"/bin/bash"}}, []Blob{l.busybox, l.bash}},
		{testbed.Alpine, shell, []Blob{l.busybox, l.alpine}},
		{testbed.Scratch, settings{Env: path, Entrypoint: []string{"/hello"}}, []Blob{l.hello}},
		{testbed.NonRoot, nonroot, []Blob{l.busybox, l.nonroot}},
		{testbed.Runner, settings{Env: path, Cmd: []string{"/bin/bash"}}, []Blob{l.busybox, l.bash, l.runner}},
		{testbed.Pause, settings{Env: path, Entrypoint: []string{"/pause"}}, []Blob{l.pause}},
		{testbed.Redis, settings{
			Env:          path,
			Entrypoint:   []string{"/redis"},
			ExposedPorts: set{"6379/tcp": {}},
			Healthcheck:  everyMoment("/redis", "ping"),
		}, []Blob{l.redis}},
		{testbed.Sick, settings{
			Env:         path,
			Cmd:         []string{"/bin/sh", "-c", "echo feeling sick; exec tail -f /dev/null"},
			Healthcheck: everyMoment("/bin/false"),
		}, base},
		{testbed.Crash, settings{
			Env: path,
			Cmd: []string{"/bin/sh", "-c", "echo starting; echo cannot go on >&2; usleep 200000; exit 3"},
		}, base},
		{testbed.Entry, settings{
			Env:        path,
			Entrypoint: []string{"/bin/echo", "entry"},
			Cmd:        []string{"cmd"},
			Volumes:    set{"/data": {}},
		}, []Blob{l.busybox, l.data}},
	}
}

// everyMoment is a health check that tells quickly: tests wait for it.
func everyMoment(command ...string) *health {
	return &health{
		Test:     append([]string{"CMD"}, command...),
		Interval: 250 * time.Millisecond,
		Timeout:  5 * time.Second,
		Retries:  2,
	}
}

func newImage(p planned) (Image, error) {
	c := config{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      epoch(),
		Config:       p.settings,
		RootFS:       rootFS{Type: "layers"},
	}
	for _, layer := range p.layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, layer.Digest())
		c.History = append(c.History, history{Created: epoch(), CreatedBy: "gantry testbed"})
	}
	text, err := json.Marshal(c)
	if err != nil {
		return Image{}, fmt.Errorf("encoding its configuration: %w", err)
	}
	return Image{Name: p.name, Config: NewBlob(text), Layers: p.layers}, nil
}
