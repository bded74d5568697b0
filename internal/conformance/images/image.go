// Package images makes container images without an engine, and offers them to engines in a registry of its own.
// So a test of container hooks needs one or two small images from outside, whatever else it wants to try.
package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Image is a container image: what an engine starts, and the files in it.
type Image struct {
	Architecture string
	OS           string
	Config       Config
	layers       []layer
}

// Config says how containers of an image start.
type Config struct {
	User         string              `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	Healthcheck  *Healthcheck        `json:",omitempty"`
}

// Healthcheck is Docker's; Test begins with CMD or CMD-SHELL.
type Healthcheck struct {
	Test        []string      `json:",omitempty"`
	Interval    time.Duration `json:",omitempty"`
	Timeout     time.Duration `json:",omitempty"`
	StartPeriod time.Duration `json:",omitempty"`
	Retries     int           `json:",omitempty"`
}

type layer struct {
	diffID  string // digest of the uncompressed archive
	content []byte // compressed
}

// File is a file of a layer. A folder's name ends in a slash.
type File struct {
	Path    string
	Content []byte
	Mode    int64
	UID     int
}

// Scratch is an image without files, for the platform of another one.
func (i *Image) Scratch() *Image { return &Image{Architecture: i.Architecture, OS: i.OS} }

// With is the image with another layer on top. The image itself stays as it is.
func (i *Image) With(files ...File) (*Image, error) {
	next := *i
	next.layers = slices.Clone(i.layers)
	next.Config.Env = slices.Clone(i.Config.Env)
	if len(files) == 0 {
		return &next, nil
	}
	archive, err := pack(files)
	if err != nil {
		return nil, err
	}
	next.layers = append(next.layers, newLayer(archive))
	return &next, nil
}

func newLayer(archive []byte) layer {
	sum := sha256.Sum256(archive)
	return layer{"sha256:" + hex.EncodeToString(sum[:]), compressed(archive)}
}

func compressed(content []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is a valid one
	w.Write(content)                                  // to memory
	w.Close()
	return out.Bytes()
}

func pack(files []File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		header := &tar.Header{
			Name: strings.TrimPrefix(f.Path, "/"), Mode: f.Mode, Uid: f.UID, Gid: f.UID, Size: int64(len(f.Content)),
			ModTime: time.Unix(1700000000, 0), Typeflag: tar.TypeReg,
		}
		if strings.HasSuffix(f.Path, "/") {
			header.Typeflag, header.Size = tar.TypeDir, 0
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("packing %s: %w", f.Path, err)
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, fmt.Errorf("packing %s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("packing a layer: %w", err)
	}
	return out.Bytes(), nil
}

// Add offers an image as repository:tag.
func (r *Registry) Add(repository, tag string, image *Image) error {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Size      int    `json:"size"`
		Digest    string `json:"digest"`
	}
	manifest := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{SchemaVersion: 2, MediaType: manifestType, Layers: []descriptor{}}
	config, err := image.config()
	if err != nil {
		return fmt.Errorf("making the image %s: %w", repository, err)
	}
	manifest.Config = descriptor{configType, len(config), r.store(configType, config)}
	for _, l := range image.layers {
		manifest.Layers = append(manifest.Layers, descriptor{layerType, len(l.content), r.store(layerType, l.content)})
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("making the image %s: %w", repository, err)
	}
	r.tag(repository, tag, r.store(manifestType, text))
	return nil
}

// config is the image's JSON. Its history is empty but for one entry a layer, as engines want it.
func (i *Image) config() ([]byte, error) {
	type step struct {
		Created time.Time `json:"created"`
	}
	made := time.Unix(1700000000, 0).UTC()
	text := struct {
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Created      time.Time `json:"created"`
		Config       Config    `json:"config"`
		History      []step    `json:"history"`
		RootFS       struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}{Architecture: i.Architecture, OS: i.OS, Created: made, Config: i.Config}
	text.RootFS.Type, text.RootFS.DiffIDs = "layers", []string{}
	for _, l := range i.layers {
		text.RootFS.DiffIDs = append(text.RootFS.DiffIDs, l.diffID)
		text.History = append(text.History, step{made})
	}
	return json.Marshal(text)
}

// Read reads what `docker save IMAGE` or `podman save IMAGE` writes.
func Read(archive io.Reader) (*Image, error) {
	files, err := unpack(archive)
	if err != nil {
		return nil, fmt.Errorf("reading a saved image: %w", err)
	}
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) == 0 {
		return nil, fmt.Errorf("reading a saved image: its manifest: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	image := &Image{}
	config := struct {
		Architecture, OS *string
		Config           *Config
	}{&image.Architecture, &image.OS, &image.Config}
	if err := json.Unmarshal(files[path.Clean(manifest[0].Config)], &config); err != nil {
		return nil, fmt.Errorf("reading a saved image: its configuration: %w", err)
	}
	for _, name := range manifest[0].Layers {
		content, err := uncompressed(files[path.Clean(name)])
		if err != nil {
			return nil, fmt.Errorf("reading a saved image: layer %s: %w", name, err)
		}
		image.layers = append(image.layers, newLayer(content))
	}
	return image, nil
}

// unpack reads an archive's files; links count as the files that they lead to.
func unpack(archive io.Reader) (map[string][]byte, error) {
	files, links := map[string][]byte{}, map[string]string{}
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			for name, target := range maps.All(links) {
				files[name] = files[target]
			}
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeReg:
			if files[name], err = io.ReadAll(r); err != nil {
				return nil, err
			}
		case tar.TypeSymlink:
			links[name] = path.Join(path.Dir(name), header.Linkname)
		case tar.TypeLink:
			links[name] = path.Clean(header.Linkname)
		}
	}
}

func uncompressed(content []byte) ([]byte, error) {
	if !bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		return content, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// File reads one file of the image, of the topmost layer that has it; links are not followed.
func (i *Image) File(name string) ([]byte, error) {
	for _, l := range slices.Backward(i.layers) {
		archive, err := uncompressed(l.content)
		if err != nil {
			return nil, fmt.Errorf("reading %s of an image: %w", name, err)
		}
		files, err := unpack(bytes.NewReader(archive))
		if err != nil {
			return nil, fmt.Errorf("reading %s of an image: %w", name, err)
		}
		if content := files[strings.TrimPrefix(path.Clean(name), "/")]; content != nil {
			return content, nil
		}
	}
	return nil, fmt.Errorf("the image has no %s", name)
}
