package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Registry is a registry of container images in this process, on a port of this machine: what `docker pull` and
// `podman pull` ask of one, and no more. Images are added, nobody can push.
//
// A registry with a user asks for the password. All methods may be used at the same time.
type Registry struct {
	// Addr is host and port.
	Addr string
	// User and Password are asked for, if User is not "".
	User, Password string

	server *http.Server

	mu        sync.Mutex
	blobs     map[string]blob // by digest
	tags      map[string]string
	failures  map[string]int // by repository, how many requests still fail
	manifests map[string]int // by repository, how many requests there were
	holds     map[string]time.Duration
}

type blob struct {
	mediaType string
	content   []byte
}

const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Serve starts a registry on an address of this machine. With a user, it answers nobody else.
func Serve(address, user, password string) (*Registry, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, fmt.Errorf("opening a port for images: %w", err)
	}
	r := &Registry{
		Addr: listener.Addr().String(), User: user, Password: password,
		blobs: map[string]blob{}, tags: map[string]string{}, failures: map[string]int{}, manifests: map[string]int{}, holds: map[string]time.Duration{},
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go r.server.Serve(listener) // ends with Close
	return r, nil
}

// Close ends the registry.
func (r *Registry) Close() error { return r.server.Close() }

// Requests says how often the manifest of a repository was asked for.
func (r *Registry) Requests(repository string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manifests[repository]
}

// Fail lets the next requests for manifests of a repository fail.
func (r *Registry) Fail(repository string, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[repository] = times
}

// Hold lets requests for manifests of a repository wait so long.
func (r *Registry) Hold(repository string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds[repository] = d
}

// Digest is that of a tag's manifest; "" if there is none.
func (r *Registry) Digest(repository, tag string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tags[repository+":"+tag]
}

// store keeps a blob and gives its digest.
func (r *Registry) store(mediaType string, content []byte) string {
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[digest] = blob{mediaType, content}
	return digest
}

func (r *Registry) tag(repository, tag, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tags[repository+":"+tag] = digest
}

// ServeHTTP answers a client of the distribution API.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if user, password, _ := req.BasicAuth(); r.User != "" && (user != r.User || password != r.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="conformance"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return
	}
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	repository, reference, isManifest := strings.Cut(path, "/manifests/")
	_, digest, isBlob := strings.Cut(path, "/blobs/")
	switch {
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only")
	case path == "":
		fmt.Fprintln(w, "{}")
	case isManifest:
		r.manifest(w, req, repository, reference)
	case isBlob:
		r.send(w, req, digest, "BLOB_UNKNOWN")
	default:
		http.NotFound(w, req)
	}
}

func (r *Registry) manifest(w http.ResponseWriter, req *http.Request, repository, reference string) {
	r.mu.Lock()
	r.manifests[repository]++
	failing := r.failures[repository] > 0
	if failing {
		r.failures[repository]--
	}
	digest, tagged := r.tags[repository+":"+reference]
	hold := r.holds[repository]
	r.mu.Unlock()
	select {
	case <-req.Context().Done():
		return
	case <-time.After(hold):
	}
	switch {
	case failing:
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry is busy, come again")
		return
	case !tagged:
		digest = reference
	}
	r.send(w, req, digest, "MANIFEST_UNKNOWN")
}

func (r *Registry) send(w http.ResponseWriter, req *http.Request, digest, unknown string) {
	r.mu.Lock()
	found, ok := r.blobs[digest]
	r.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, unknown, "not known here")
		return
	}
	w.Header().Set("Content-Type", found.mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(found.content)))
	w.Header().Set("Docker-Content-Digest", digest)
	if req.Method == http.MethodGet {
		w.Write(found.content) // a client that went away is no trouble of ours
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`+"\n", code, message)
}
