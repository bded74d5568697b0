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
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	containers "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// ImageWith puts a program of this machine at a path into an image of the cluster's registry, on Busybox, and gives the
// image's name.
func (c *Cluster) ImageWith(t testing.TB, program, at string) string {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatalf("making an image with %s: %v", program, err)
		}
	}
	text, err := os.ReadFile(program)
	must(err)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	must(w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(at, "/"), Mode: 0o755, Size: int64(len(text))}))
	_, err = w.Write(text)
	must(err)
	must(w.Close())
	base, err := name.ParseReference(c.Registry.Addr + "/" + testbed.Busybox)
	must(err)
	image, err := containers.Image(base, containers.WithContext(t.Context()))
	must(err)
	added, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must(err)
	image, err = mutate.AppendLayers(image, added)
	must(err)
	ref, err := name.ParseReference(c.Registry.Addr + "/gantry-test-agent:" + strings.ToLower(rand.Text()))
	must(err)
	must(containers.Write(ref, image, containers.WithContext(t.Context())))
	return ref.String()
}
