package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/testbed/images"
)

// Images of the demo, by their names in the test images.
func imageNames() map[string]string {
	return map[string]string{testbed.Alpine: "gantry.demo/alpine:1", testbed.Redis: "gantry.demo/redis:1"}
}

// loadImages makes the images from Debian's busybox-static and a small program, and gives them to the engine.
func (d *demo) loadImages(ctx context.Context) error {
	begin := time.Now()
	all, err := images.All(ctx)
	if err != nil {
		return err
	}
	names := imageNames()
	all = slices.DeleteFunc(all, func(image images.Image) bool { return names[image.Name] == "" })
	for i := range all {
		all[i].Name = names[all[i].Name]
	}
	archive := filepath.Join(d.dir, "images.tar")
	if err := writeArchive(archive, all); err != nil {
		return err
	}
	if _, err := d.engine.do(ctx, "load", "--input", archive); err != nil {
		return err
	}
	d.log.say("made %d images without a registry in %.1f s", len(all), time.Since(begin).Seconds())
	return nil
}

func writeArchive(path string, all []images.Image) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the images: %w", err)
	}
	defer file.Close()
	if err := images.WriteArchive(file, all); err != nil {
		return err
	}
	return file.Close()
}

// isStatic tells whether a program runs without libraries, so that it can be put into an empty image.
func isStatic(path string) bool {
	file, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return !slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
