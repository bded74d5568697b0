package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// saved is what `docker save` writes, of an image with one file.
func saved(t *testing.T) io.Reader {
	t.Helper()
	layer, err := pack([]File{{Path: "bin/", Mode: 0o755}, {Path: "bin/program", Content: []byte("a program"), Mode: 0o755}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range map[string][]byte{
		"manifest.json": []byte(`[{"Config":"abc.json","RepoTags":["x:1"],"Layers":["1/layer.tar"]}]`),
		"abc.json":      []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Cmd":["sh"]}}`),
		"1/layer.tar":   layer,
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func get(t *testing.T, r *Registry, path, user, password string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Addr+"/v2/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}

func serve(t *testing.T, user, password string) *Registry {
	t.Helper()
	r, err := Serve("127.0.0.1", user, password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// A saved image, with a layer more, is offered as an engine wants it: manifest, configuration and layers by digest.
func TestASavedImageIsOffered(t *testing.T) {
	image, err := Read(saved(t))
	if err != nil {
		t.Fatal(err)
	}
	if content, err := image.File("/bin/program"); err != nil || string(content) != "a program" {
		t.Errorf("%q, %v", content, err)
	}
	more, err := image.With(File{Path: "etc/more", Content: []byte("more"), Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, "", "")
	if err := r.Add("a/b", "1", more); err != nil {
		t.Fatal(err)
	}
	_, text := get(t, r, "a/b/manifests/1", "", "")
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal(text, &manifest); err != nil || len(manifest.Layers) != 2 {
		t.Fatalf("%v: %s", err, text)
	}
	status, text := get(t, r, "a/b/blobs/"+manifest.Config.Digest, "", "")
	var config struct {
		Architecture string
		Config       Config
		RootFS       struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(text, &config); err != nil || status != 200 || config.Config.Env[0] != "A=b" || len(config.RootFS.DiffIDs) != 2 {
		t.Errorf("%d %v: %s", status, err, text)
	}
	for _, path := range []string{"a/b/manifests/" + r.Digest("a/b", "1"), "a/b/blobs/" + manifest.Layers[1].Digest} {
		if status, _ := get(t, r, path, "", ""); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if len(image.layers) != 1 {
		t.Error("the image itself was changed")
	}
}

func TestARegistryWithAPassword(t *testing.T) {
	r := serve(t, "user", "secret")
	for password, want := range map[string]int{"secret": 200, "wrong": 401} {
		if status, _ := get(t, r, "", "user", password); status != want {
			t.Errorf("%s: %d", password, status)
		}
	}
	if status, _ := get(t, r, "", "", ""); status != 401 {
		t.Errorf("without a user: %d", status)
	}
}

func TestARegistryThatFails(t *testing.T) {
	image, err := Read(saved(t))
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, "", "")
	if err := r.Add("a", "1", image); err != nil {
		t.Fatal(err)
	}
	r.Fail("a", 2)
	for i, want := range []int{503, 503, 200} {
		if status, _ := get(t, r, "a/manifests/1", "", ""); status != want {
			t.Errorf("request %d: %d", i, status)
		}
	}
	if status, _ := get(t, r, "b/manifests/1", "", ""); status != 404 || fmt.Sprint(r.Requests("a"), r.Requests("b")) != "3 1" {
		t.Errorf("%d; requests %d and %d", status, r.Requests("a"), r.Requests("b"))
	}
}
