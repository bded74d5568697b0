package enginetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
)

func checkRemove(v *env) {
	v.start(v.job(nil, v.shell("one", "echo"), v.shell("two", "echo")))
	inv, err := v.List(v.Context(), v.labels)
	if err != nil || len(inv.Containers) != 2 || v.has(Networks) && len(inv.Networks) != 1 {
		v.Fatalf("listed %+v (%v)", inv, err)
	}
	inv.Containers = slices.Insert(inv.Containers, 1, engine.Container{ID: strings.Repeat("ab", 32), Name: "gantry-" + v.id + "-none"})
	inv.Networks = slices.Insert(inv.Networks, 0, engine.Network{Name: "gantry-" + v.id + "-none"})
	for try := range 2 {
		if err := v.Remove(v.Context(), inv); err != nil {
			v.Errorf("removal %d: %v", try+1, err)
		}
	}
	if err := v.Remove(v.Context(), engine.Inventory{}); err != nil {
		v.Errorf("removing nothing: %v", err)
	}
}

func checkNotFound(v *env) {
	const id = "gantry-no-such-container"
	if _, err := v.Inspect(v.Context(), id); !errors.Is(err, engine.ErrNotFound) {
		v.Errorf("inspecting: %v", err)
	}
	if err := v.Logs(v.Context(), id, 10, new(bytes.Buffer)); !errors.Is(err, engine.ErrNotFound) {
		v.Errorf("reading the log: %v", err)
	}
}

func checkLogs(v *env) {
	job := v.start(v.job(nil, v.shell("talks", "echo oops >&2; echo one; echo two; echo three; echo end")))
	id := job.Services[0].ID
	v.soon("both streams", func() bool {
		var log bytes.Buffer
		if err := v.Logs(v.Context(), id, 1000, &log); err != nil {
			v.Fatal(err)
		}
		lines := strings.Fields(log.String())
		slices.Sort(lines) // an engine may mix up the streams
		return slices.Equal(lines, []string{"end", "one", "oops", "three", "two"})
	})
	var log bytes.Buffer
	if err := v.Logs(v.Context(), id, 2, &log); err != nil || strings.Count(log.String(), "\n") != 2 {
		v.Errorf("the last two lines are %q (%v)", log.String(), err)
	}
}

// build is an image that the check's labels find.
func (v *env) build() engine.BuildSpec {
	dir := v.TempDir()
	file := filepath.Join(dir, "Dockerfile")
	text := "FROM " + v.fx.Shell + "\nCOPY greeting /greeting\nENTRYPOINT [\"cat\", \"/greeting\"]\n"
	if err := errors.Join(
		os.WriteFile(file, []byte(text), 0o644), os.WriteFile(filepath.Join(dir, "greeting"), []byte(v.id+"\n"), 0o644),
	); err != nil {
		v.Fatal(err)
	}
	spec := engine.BuildSpec{Tag: "gantry.test/built:" + v.id, Dockerfile: file, Context: dir, Labels: v.labels, Timeout: time.Minute}
	v.Cleanup(func() { v.removeImages() })
	return spec
}

// removeImages removes what the check built, and gives what is left.
func (v *env) removeImages() []engine.Image {
	ctx := v.cleanContext()
	images, err := v.Images(ctx, v.labels)
	if err != nil {
		v.Errorf("listing images: %v", err)
	}
	var ids []string
	for _, i := range images {
		ids = append(ids, i.ID)
	}
	if err := v.RemoveImages(ctx, ids); err != nil {
		v.Errorf("removing images: %v", err)
	}
	left, err := v.Images(ctx, v.labels)
	if err != nil {
		v.Errorf("listing images: %v", err)
	}
	return left
}

func checkBuild(v *env) {
	spec := v.build()
	v.hasImage(spec.Tag, false)
	before := time.Now()
	if err := v.Build(v.Context(), spec, &v.log); err != nil {
		v.Fatal(err)
	}
	if v.log.Len() == 0 {
		v.Error("the build said nothing")
	}
	v.hasImage(spec.Tag, true)
	v.log.Reset()
	if err := v.Build(v.Context(), spec, &v.log); err != nil || v.log.Len() > 0 {
		v.Errorf("building it again did something: %v %s", err, v.log.String())
	}
	images, err := v.Images(v.Context(), v.labels)
	if err != nil || len(images) != 1 {
		v.Fatalf("images %+v (%v), want one", images, err)
	}
	i := images[0]
	if !slices.Contains(i.Tags, spec.Tag) || i.Labels["io.gantry.test"] != v.id || i.Created.Before(before.Add(-5*time.Second)) {
		v.Errorf("the image is %+v", i)
	}
	s, err := v.StartStep(v.Context(), v.container("step", spec.Tag), "", &v.log)
	if err != nil {
		v.Fatal(err)
	}
	if v.gone(s); s.Err() != nil || !slices.Equal(s.Entrypoint, []string{"cat", "/greeting"}) {
		v.Errorf("it ran as %+v (%v)", s, s.Err())
	}
	if left := v.removeImages(); len(left) > 0 {
		v.Errorf("after removal there is %+v", left)
	}
	v.hasImage(spec.Tag, false)
	if err := v.RemoveImages(v.Context(), []string{i.ID}); err != nil {
		v.Errorf("removing it again: %v", err)
	}
}

func (v *env) hasImage(tag string, want bool) {
	if has, err := v.HasImage(v.Context(), tag); err != nil || has != want {
		v.Errorf("that there is an image %s: %t (%v), want %t", tag, has, err, want)
	}
}

func checkImageInUse(v *env) {
	spec := v.build()
	if err := v.Build(v.Context(), spec, &v.log); err != nil {
		v.Fatal(err)
	}
	user := v.container("user", spec.Tag, "-c", "sleep 600")
	user.Entrypoint = "sh"
	v.start(v.job(nil, user))
	if left := v.removeImages(); len(left) != 1 {
		v.Errorf("images after removal: %+v, want the one in use", left)
	}
	v.removeAll()
}
