package imagebuild

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/verdict"
)

func TestImagesAreListedAndRemoved(t *testing.T) {
	s := newScene(t)
	s.buildah("true")
	b := s.builder()
	if images, err := b.Images(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("before anything was built: %+v, %v", images, err)
	}
	if _, err := s.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	images, err := b.Images(t.Context())
	if err != nil || len(images) != 1 {
		t.Fatalf("%+v, %v", images, err)
	}
	i := images[0]
	if i.Labels["io.gantry.role"] != "image" || time.Since(i.Created) > time.Minute || len(i.Tags) != 1 || !strings.Contains(i.Tags[0], "/gantry-action:") {
		t.Errorf("%+v", i)
	}
	for range 2 { // removing what is gone is no error
		if err := b.RemoveImages(t.Context(), []string{i.ID}); err != nil {
			t.Error(err)
		}
	}
	s.blames(b.RemoveImages(t.Context(), []string{"latest"}), verdict.Bug)
	if images, err := New(Config{}).Images(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("without a registry: %+v, %v", images, err)
	}
}

// answering is a registry that gives one answer to everything.
func answering(t *testing.T, status int, code string) *Builder {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"its words"}]}`, code)
		}
	}))
	t.Cleanup(server.Close)
	return New(Config{Registry: strings.TrimPrefix(server.URL, "http://") + "/ci"})
}

func TestRegistriesThatDoNotDelete(t *testing.T) {
	s := &scene{T: t}
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	err := answering(t, http.StatusMethodNotAllowed, "UNSUPPORTED").RemoveImages(t.Context(), []string{digest})
	s.blames(err, verdict.Configuration, "does not delete", "REGISTRY_STORAGE_DELETE_ENABLED")
	err = answering(t, http.StatusForbidden, "DENIED").RemoveImages(t.Context(), []string{digest})
	s.blames(err, verdict.Configuration, "account")
}

func TestARegistrysAnswers(t *testing.T) {
	s := &scene{T: t}
	for status, whose := range map[int]verdict.Whose{
		http.StatusUnauthorized: verdict.Configuration, http.StatusForbidden: verdict.Configuration,
		http.StatusInternalServerError: verdict.Infrastructure, http.StatusTooManyRequests: verdict.Infrastructure,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel() // some are asked again
			_, err := answering(t, status, "UNKNOWN").Images(t.Context())
			(&scene{T: t}).blames(err, whose)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := answering(t, http.StatusOK, "").Images(ctx)
	s.blames(err, verdict.Infrastructure, "cancel")
}

func TestAnUnknownCertificate(t *testing.T) {
	s := &scene{T: t}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	cfg := Config{Registry: strings.TrimPrefix(server.URL, "https://") + "/ci"}
	_, err := New(cfg).Images(t.Context())
	s.blames(err, verdict.Configuration, "kubernetes.build.insecure", "SSL_CERT_FILE")
	cfg.Insecure = true
	if images, err := New(cfg).Images(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("insecure: %+v, %v", images, err)
	}
}
