package kubetest

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	containers "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// ImageWith puts a program of this machine at a path into an image of the cluster's registry, on Busybox, and gives the
// image's name.
func (c *Cluster) ImageWith(t testing.TB, program, at string) string {
	t.Helper()
	return c.Image(t, testbed.Busybox, "", map[string]string{at: program})
}

// Image puts files of this machine into an image of the cluster's registry, on one of the test images, and gives the image's
// name. files has their names in the image, and here. user is the image's, "" for that of the image below.
func (c *Cluster) Image(t testing.TB, on, user string, files map[string]string) string {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatalf("making an image: %v", err)
		}
	}
	layer, err := layerOf(files)
	must(err)
	base, err := name.ParseReference(c.Registry.Addr + "/" + on)
	must(err)
	image, err := containers.Image(base, containers.WithContext(t.Context()))
	must(err)
	image, err = mutate.AppendLayers(image, layer)
	must(err)
	if user != "" {
		file, err := image.ConfigFile()
		must(err)
		file.Config.User = user
		image, err = mutate.Config(image, file.Config)
		must(err)
	}
	ref, err := name.ParseReference(c.Registry.Addr + "/gantry-test-agent:" + strings.ToLower(rand.Text()))
	must(err)
	must(containers.Write(ref, image, containers.WithContext(t.Context())))
	return ref.String()
}

// layerOf has files, all of them programs.
func layerOf(files map[string]string) (v1.Layer, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for at, from := range files {
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(at, "/"), Mode: 0o755, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
}
