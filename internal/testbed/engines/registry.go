package engines

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/images"
)

// registryConfig is the configuration of docker-registry. Docker takes plain HTTP on 127.0.0.0/8; Podman is told to.
const registryConfig = `version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
`

// passwordConfig is what comes to it for a private one.
const passwordConfig = `auth: {htpasswd: {realm: gantry, path: %q}}
`

// freeAddr is an address on loopback that nobody listens on.
func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func (b *Bed) startRegistry(ctx context.Context) error {
	server := &testbed.RegistryServer{Addr: b.registryAddr, User: "gantry", Password: rand.Text()}
	server.Image = server.Addr + "/private/busybox:1"
	if err := b.serve(ctx, "docker-registry", filepath.Join(b.Dir, "registry"), server); err != nil {
		return err
	}
	return b.record(func(s *state) { s.Facts.Registry = server })
}

// serve runs a registry and returns once it answers. Its images lie below dir; several may share them.
func (b *Bed) serve(ctx context.Context, name, dir string, server *testbed.RegistryServer) error {
	path, err := program("docker-registry")
	if err != nil {
		return err
	}
	config, err := configureRegistry(name, dir, server)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "serve", config)
	cmd.Env = []string{"PATH=" + cleanPath, marker + "=" + b.Dir}
	p, err := b.launch(name, cmd)
	if err != nil {
		return err
	}
	client := registryClient{server: server}
	return p.Ready(ctx, func() error { return client.call(ctx, "GET", "/v2/", "", nil, nil) })
}

func configureRegistry(name, dir string, server *testbed.RegistryServer) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("configuring the registry: %w", err)
	}
	text := fmt.Sprintf(registryConfig, filepath.Join(dir, "data"), server.Addr)
	if server.User != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(server.Password), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("hashing the registry's password: %w", err)
		}
		accounts := filepath.Join(dir, name+".htpasswd")
		if err := os.WriteFile(accounts, fmt.Appendf(nil, "%s:%s\n", server.User, hash), 0o600); err != nil {
			return "", fmt.Errorf("configuring the registry: %w", err)
		}
		text += fmt.Sprintf(passwordConfig, accounts)
	}
	config := filepath.Join(dir, name+".yml")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("configuring the registry: %w", err)
	}
	return config, nil
}

// fillRegistry pushes the busybox image, through the registry's own protocol.
func (b *Bed) fillRegistry(ctx context.Context, made *built) error {
	client := registryClient{server: b.state.Facts.Registry}
	for _, image := range made.images {
		if image.Name == testbed.Busybox {
			return client.push(ctx, "private/busybox", "1", image)
		}
	}
	return fmt.Errorf("there is no image %s", testbed.Busybox)
}

type registryClient struct {
	server *testbed.RegistryServer
}

// descriptor names a blob in a manifest.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Size      int    `json:"size"`
	Digest    string `json:"digest"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// Media types of Docker's image manifests.
const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

func (c registryClient) push(ctx context.Context, repository, tag string, image images.Image) error {
	m := manifest{SchemaVersion: 2, MediaType: manifestType}
	var err error
	if m.Config, err = c.upload(ctx, repository, configType, image.Config); err != nil {
		return err
	}
	for _, layer := range image.Layers {
		packed, err := compress(layer)
		if err != nil {
			return err
		}
		uploaded, err := c.upload(ctx, repository, layerType, packed)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, uploaded)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding the manifest of %s: %w", repository, err)
	}
	return c.call(ctx, "PUT", "/v2/"+repository+"/manifests/"+tag, manifestType, text, nil)
}

func (c registryClient) upload(ctx context.Context, repository, mediaType string, blob images.Blob) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Size: len(blob.Content), Digest: blob.Digest()}
	var location string
	if err := c.call(ctx, "POST", "/v2/"+repository+"/blobs/uploads/", "", nil, &location); err != nil {
		return d, err
	}
	return d, c.call(ctx, "PUT", location+"&digest="+d.Digest, "application/octet-stream", blob.Content, nil)
}

func compress(layer images.Blob) (images.Blob, error) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(layer.Content); err != nil {
		return images.Blob{}, fmt.Errorf("compressing a layer: %w", err)
	}
	if err := w.Close(); err != nil {
		return images.Blob{}, fmt.Errorf("compressing a layer: %w", err)
	}
	return images.NewBlob(packed.Bytes()), nil
}

// call makes one request; target is a path, or the URL that an earlier answer gave. The answer's Location header
// goes to location unless that is nil.
func (c registryClient) call(ctx context.Context, method, target, contentType string, body []byte, location *string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if target[0] == '/' {
		target = "http://" + c.server.Addr + target
	}
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the registry: %w", err)
	}
	if c.server.User != "" {
		request.SetBasicAuth(c.server.User, c.server.Password)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return fmt.Errorf("asking the registry: %w", err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s %s: the registry answers %s: %s", method, request.URL.Path, answer.Status, text)
	}
	if location != nil {
		*location = answer.Header.Get("Location")
	}
	return nil
}
