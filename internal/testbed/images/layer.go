package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// layer collects the files of one image layer. The same files give the same bytes, so that layers and images have
// the same digests on every engine and in every run.
type layer struct {
	buf  bytes.Buffer
	tar  *tar.Writer
	made map[string]bool
	err  error // the first one; later calls do nothing
}

func newLayer() *layer {
	l := &layer{made: map[string]bool{".": true}}
	l.tar = tar.NewWriter(&l.buf)
	return l
}

// epoch is the time of everything in the images.
func epoch() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) }

func (l *layer) entry(h tar.Header, content []byte) {
	if l.err != nil {
		return
	}
	h.ModTime, h.Size, h.Format = epoch(), int64(len(content)), tar.FormatPAX
	if err := l.tar.WriteHeader(&h); err != nil {
		l.err = fmt.Errorf("adding %s to a layer: %w", h.Name, err)
		return
	}
	if _, err := l.tar.Write(content); err != nil {
		l.err = fmt.Errorf("adding %s to a layer: %w", h.Name, err)
	}
}

// dir adds a directory and its parents, once.
func (l *layer) dir(name string, mode fs.FileMode, owner int) {
	name = strings.Trim(path.Clean(name), "/")
	if l.made[name] {
		return
	}
	if parent := path.Dir(name); parent != "." {
		l.dir(parent, 0o755, 0)
	}
	l.made[name] = true
	bits := int64(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	l.entry(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: bits, Uid: owner, Gid: owner}, nil)
}

func (l *layer) file(name string, mode int64, content []byte) {
	l.dir(path.Dir(name), 0o755, 0)
	l.entry(tar.Header{Typeflag: tar.TypeReg, Name: strings.Trim(name, "/"), Mode: mode}, content)
}

func (l *layer) text(name, content string) { l.file(name, 0o644, []byte(content)) }

func (l *layer) link(name, target string) {
	l.dir(path.Dir(name), 0o755, 0)
	l.entry(tar.Header{Typeflag: tar.TypeSymlink, Name: strings.Trim(name, "/"), Linkname: target, Mode: 0o777}, nil)
}

// copyOf adds a file of this machine under the given name.
func (l *layer) copyOf(name, source string) {
	content, err := os.ReadFile(source)
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("adding %s to a layer: %w", name, err)
	}
	l.file(name, 0o755, content)
}

func (l *layer) finish() (Blob, error) {
	if l.err != nil {
		return Blob{}, l.err
	}
	if err := l.tar.Close(); err != nil {
		return Blob{}, fmt.Errorf("ending a layer: %w", err)
	}
	return NewBlob(l.buf.Bytes()), nil
}

// Blob is content and its SHA-256 in hexadecimal.
type Blob struct {
	Content []byte
	Hex     string
}

// Digest is the blob's name in registries and image configurations.
func (b Blob) Digest() string { return "sha256:" + b.Hex }

// NewBlob names content.
func NewBlob(content []byte) Blob {
	sum := sha256.Sum256(content)
	return Blob{Content: content, Hex: hex.EncodeToString(sum[:])}
}
