package images

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
)

// manifestEntry is an image in the archive's manifest.json.
type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// WriteArchive writes the images as one archive for `docker load` and `podman load`. Layers that images share are
// written once.
func WriteArchive(w io.Writer, images []Image) error {
	archive := newLayer()
	var manifest []manifestEntry
	written := map[string]bool{}
	add := func(name string, content []byte) string {
		if !written[name] {
			written[name] = true
			archive.file(name, 0o644, content)
		}
		return name
	}
	for _, image := range images {
		entry := manifestEntry{RepoTags: []string{image.Name}}
		entry.Config = add(image.Config.Hex+".json", image.Config.Content)
		for _, layer := range image.Layers {
			entry.Layers = append(entry.Layers, add(path.Join(layer.Hex, "layer.tar"), layer.Content))
		}
		manifest = append(manifest, entry)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("encoding the archive's manifest: %w", err)
	}
	add("manifest.json", text)
	blob, err := archive.finish()
	if err != nil {
		return err
	}
	if _, err := w.Write(blob.Content); err != nil {
		return fmt.Errorf("writing the image archive: %w", err)
	}
	return nil
}
