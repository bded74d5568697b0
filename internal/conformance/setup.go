package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gantry-ci/gantry/internal/conformance/images"
)

// BaseImages are the images from outside that the suite takes everything else from, by their short name. Without
// bash the cases that need it are skipped.
func BaseImages() map[string]string {
	return map[string]string{"busybox": "busybox:1", "bash": "debian:stable-slim"}
}

// credentials are those of the registry with a password.
func (s *Suite) credentials() Credentials {
	if s.Registry.Host != "" {
		return s.Registry
	}
	return Credentials{Host: s.private.Addr, User: s.private.User, Password: s.private.Password, Image: "conform/private:1"}
}

// Open starts registries, makes images, and sees whether the engine can pull them. An error means that nothing can be
// judged.
func (s *Suite) Open(ctx context.Context) (err error) {
	if s.open, err = images.Serve(s.Engine.Listen(), "", ""); err != nil {
		return err
	}
	if s.private, err = images.Serve(s.Engine.Listen(), "conformance", "p@ss:"+randomHex(12)); err != nil {
		return errors.Join(err, s.open.Close())
	}
	s.images, s.labels = map[string]string{}, &labels{}
	if err := s.fill(ctx); err != nil {
		return errors.Join(err, s.open.Close(), s.private.Close())
	}
	return nil
}

func (s *Suite) fill(ctx context.Context) error {
	busybox, err := s.base(ctx, "busybox")
	if err != nil {
		return fmt.Errorf("getting the image that all others are made of: %w", err)
	}
	made, err := derived(busybox)
	if err != nil {
		return err
	}
	if bash, err := s.base(ctx, "bash"); err == nil {
		made["bash"] = bash
	}
	s.made = made
	for name, image := range made {
		if err := s.offer(name, image); err != nil {
			return err
		}
	}
	if err := s.private.Add("conform/private", "1", busybox); err != nil {
		return err
	}
	s.images["private"] = s.private.Addr + "/conform/private:1"
	s.images["digest"] = s.open.Addr + "/conform/busybox@" + s.open.Digest("conform/busybox", "1")
	if s.Registry.Host != "" {
		s.images["private"] = s.Registry.Host + "/" + s.Registry.Image
	}
	if s.added, err = s.Engine.Open(s.Dir, s.registries()); err != nil {
		return err
	}
	if err := s.publish(ctx); err != nil {
		return err
	}
	if err := s.Engine.Pull(ctx, s.images["busybox"]); err != nil {
		return fmt.Errorf("the engine cannot pull from the suite's registry, %s: %w", s.registry(), err)
	}
	return nil
}

// publish copies images to where the engine can pull them, if that is not the suite's own registry.
func (s *Suite) publish(ctx context.Context) error {
	p, ok := s.Engine.(Publisher)
	if !ok {
		return nil
	}
	for name, image := range s.images {
		if name == "private" {
			continue
		}
		published, err := p.Publish(ctx, image)
		if err != nil {
			return err
		}
		s.images[name] = published
	}
	return nil
}

// registry is what the names of the suite's images begin with.
func (s *Suite) registry() string {
	if p, ok := s.Engine.(Publisher); ok {
		return p.Registry()
	}
	return s.open.Addr
}

// registries are the addresses of the suite's own.
func (s *Suite) registries() []string { return []string{s.open.Addr, s.private.Addr} }

func (s *Suite) offer(name string, image *images.Image) error {
	s.images[name] = s.open.Addr + "/conform/" + name + ":1"
	return s.open.Add("conform/"+name, "1", image)
}

// base reads a base image, or the one that is to be taken instead.
func (s *Suite) base(ctx context.Context, name string) (*images.Image, error) {
	image := BaseImages()[name]
	if other := s.Rewrite[image]; other != "" {
		image = other
	}
	return s.Engine.Image(ctx, image)
}

// Close removes the images that were pulled, and ends the registries.
func (s *Suite) Close(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer stop()
	return errors.Join(s.Engine.Close(ctx, s.registries()), s.open.Close(), s.private.Close())
}

// derived makes the images of the cases. Each has busybox, but for noshell.
func derived(busybox *images.Image) (map[string]*images.Image, error) {
	all := map[string]*images.Image{"busybox": busybox}
	for _, d := range designs() {
		image, err := busybox.With(d.files...)
		if err != nil {
			return nil, fmt.Errorf("making the image %s: %w", d.name, err)
		}
		d.change(&image.Config)
		all[d.name] = image
	}
	program, err := busybox.File("bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("making an image without a shell: %w", err)
	}
	var files []images.File
	for _, name := range []string{"echo", "env", "cat", "true", "false", "pwd", "sleep"} {
		files = append(files, images.File{Path: "app/" + name, Content: program, Mode: 0o755})
	}
	bare, err := busybox.Scratch().With(files...)
	if err != nil {
		return nil, fmt.Errorf("making an image without a shell: %w", err)
	}
	bare.Config = images.Config{Env: []string{"PATH=/app"}, Entrypoint: []string{"/app/echo"}, Cmd: []string{"bare"}}
	all["noshell"] = bare
	return all, nil
}

// design is busybox with something more.
type design struct {
	name   string
	files  []images.File
	change func(*images.Config)
}

func text(path, content string, mode int64) images.File {
	return images.File{Path: path, Content: []byte(content), Mode: mode}
}

func designs() []design {
	healthy := &images.Healthcheck{Test: []string{"CMD-SHELL", "test -f /ready"}, Interval: time.Second, Timeout: 5 * time.Second, Retries: 60}
	sick := &images.Healthcheck{Test: []string{"CMD-SHELL", "false"}, Interval: time.Second, Timeout: 5 * time.Second, Retries: 1}
	return []design{
		{"alpine", []images.File{text("etc/os-release", "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.22.0\n", 0o644)}, keepConfig},
		{"wolfi", []images.File{text("etc/os-release", "ID=wolfi\nNAME=\"Wolfi, not alpine\"\n", 0o644)}, keepConfig},
		{"nonroot", []images.File{
			text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1234:1234:app:/home/app:/bin/sh\n", 0o644),
			{Path: "home/app/", Mode: 0o755, UID: 1234},
		}, func(c *images.Config) { c.User, c.WorkingDir = "1234:1234", "/home/app" }},
		{"entry", nil, func(c *images.Config) {
			c.Entrypoint, c.Cmd = []string{"/bin/echo", "entry"}, []string{"cmd", "of image"}
			c.Env = append(c.Env, "OF_IMAGE=from the image")
		}},
		{"volume", nil, func(c *images.Config) { c.Volumes = map[string]struct{}{"/data": {}} }},
		{"ownpath", []images.File{text("opt/own/bin/own-program", "#!/bin/sh\necho own program\n", 0o755)}, func(c *images.Config) {
			c.Env = []string{"PATH=/opt/own/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		}},
		{"web", []images.File{text("www/index.html", "hello from web\n", 0o644)}, func(c *images.Config) {
			c.Cmd, c.ExposedPorts = []string{"httpd", "-f", "-p", "8080", "-h", "/www"}, map[string]struct{}{"8080/tcp": {}}
		}},
		{"second", []images.File{text("www/index.html", "hello from second\n", 0o644)}, func(c *images.Config) {
			c.Cmd, c.ExposedPorts = []string{"httpd", "-f", "-p", "9090", "-h", "/www"}, map[string]struct{}{"9090/tcp": {}}
		}},
		{"slow", []images.File{text("www/index.html", "hello from slow\n", 0o644)}, func(c *images.Config) {
			c.Cmd, c.Healthcheck = []string{"sh", "-c", "sleep 4; touch /ready; exec httpd -f -p 8080 -h /www"}, healthy
		}},
		{"sick", nil, func(c *images.Config) {
			c.Cmd, c.Healthcheck = []string{"sh", "-c", "echo the sick service says so; exec sleep 100000"}, sick
		}},
		{"crash", nil, func(c *images.Config) {
			c.Cmd, c.Healthcheck = []string{"sh", "-c", "echo the crashing service says so; exit 3"}, healthy
		}},
	}
}

func keepConfig(*images.Config) {}

// MarshalJSON writes a result with the facts of its case.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result
	return json.Marshal(struct {
		ID       string  `json:"id"`
		Title    string  `json:"title"`
		Level    Level   `json:"level"`
		Area     string  `json:"area"`
		RestsOn  RestsOn `json:"rests_on"`
		Duration float64 `json:"seconds"`
		plain
	}{r.Case.ID, r.Case.Title, r.Case.Level, r.Case.Area, r.Case.RestsOn, r.Took.Seconds(), plain(r)})
}

// Image is the full name of one of the suite's images, between Open and Close.
func (s *Suite) Image(name string) string { return s.images[name] }
