package ocicli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/failpoint"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/wait"
	"github.com/gantry-ci/gantry/internal/writers"
)

// wanted is an image that somebody needs. Two containers that need the same one share its pull.
type wanted struct {
	image, platform string
	policy          engine.PullPolicy
	login           bool
	credentials     engine.Credentials
}

func wantedBy(c engine.ContainerSpec) wanted {
	w := wanted{image: c.Image, policy: c.Pull}
	w.platform, _ = optionValue(c.Options, "--platform")
	if c.Credentials != nil {
		w.login, w.credentials = true, *c.Credentials
	}
	return w
}

// checksStore tells whether the answer depends on what the store has: an image named by its digest never changes.
func (w wanted) checksStore() bool {
	return w.policy != engine.PullAlways || strings.Contains(w.image, "@sha256:")
}

// missingFrom looks which of the images the store does not have, with one call if it has all.
func (d *Driver) missingFrom(ctx context.Context, images []wanted) (missing []wanted, err error) {
	var names []string
	for _, w := range images {
		if w.checksStore() {
			names = append(names, w.image)
		} else {
			missing = append(missing, w)
		}
	}
	if len(names) == 0 {
		return missing, nil
	}
	if _, err := d.inspectImages(ctx, names...); err == nil {
		return missing, nil
	} else if !errors.Is(err, engine.ErrImageNotFound) {
		return nil, err
	}
	var mu sync.Mutex
	problems := engine.Each(images, func(w wanted) error {
		if !w.checksStore() {
			return nil
		}
		has, err := d.HasImage(ctx, w.image)
		if !has && err == nil {
			mu.Lock()
			defer mu.Unlock()
			missing = append(missing, w)
		}
		return err
	})
	return missing, errors.Join(problems...)
}

// fetch brings an image that is not there, or may be outdated, into the store.
func (d *Driver) fetch(ctx context.Context, w wanted, log io.Writer) error {
	if w.policy == engine.PullNever {
		return &verdict.Error{
			Whose: verdict.Configuration,
			Err:   fmt.Errorf("image %q is not on this machine, and the pull policy is never: %w", w.image, engine.ErrImageNotFound),
			Hint:  "put the image into the engine's store, or set pull to missing or always",
		}
	}
	if err := d.pull(ctx, w, log); err != nil {
		return fmt.Errorf("pulling image %q: %w", w.image, err)
	}
	return nil
}

// pull logs in if need be, and pulls with up to three tries. Only a trouble of the network is worth another try.
func (d *Driver) pull(ctx context.Context, w wanted, log io.Writer) error {
	fmt.Fprintf(log, "pulling %s\n", w.image)
	started := time.Now()
	args := []string{"pull"}
	if w.login {
		global, local, remove, err := d.loginPatiently(ctx, w.credentials, log)
		if err != nil {
			return err
		}
		defer remove()
		args = slices.Concat(global, args, local)
	}
	if w.platform != "" {
		args = append(args, "--platform", w.platform)
	}
	args = append(args, w.image)
	failpoint.Hit("pull-started")
	err := d.patiently(ctx, log, func() error {
		progress := newProgress(log, "pulling "+w.image)
		defer progress.stop()
		_, err := d.run(ctx, command{args: args, talk: progress, mortal: true})
		return err
	})
	failpoint.Hit("pull-ended")
	if err == nil {
		fmt.Fprintf(log, "pulled %s in %s\n", w.image, rounded(time.Since(started)))
	}
	return err
}

func (d *Driver) loginPatiently(ctx context.Context, creds engine.Credentials, log io.Writer) (global, local []string, remove func(), err error) {
	err = d.patiently(ctx, log, func() error {
		global, local, remove, err = d.login(ctx, creds)
		return err
	})
	return global, local, remove, err
}

// patiently does something up to three times, as long as the network is what fails.
func (d *Driver) patiently(ctx context.Context, log io.Writer, do func() error) error {
	const tries = 3
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == tries || ctx.Err() != nil || d.meaningOf(err) != network {
			return err
		}
		pause := d.retryPause(try)
		fmt.Fprintf(log, "%v; trying again in %s\n", err, rounded(pause))
		if !wait.For(ctx, pause) {
			return err
		}
	}
}

// pullPause is 1 to 10 s, more or less doubled with each try.
func pullPause(try int) time.Duration {
	longest := min(time.Second<<(2*try-1), 10*time.Second)
	return time.Second + rand.N(longest-time.Second)
}

func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// progress turns the talk of a long command into a line every ten seconds: what it said last.
type progress struct {
	said writers.Tail
	done chan struct{}
	wg   sync.WaitGroup
}

func newProgress(log io.Writer, title string) *progress {
	p := &progress{said: writers.Tail{Max: 1 << 10}, done: make(chan struct{})}
	started := time.Now()
	p.wg.Go(func() {
		every := time.NewTicker(10 * time.Second)
		defer every.Stop()
		for {
			select {
			case <-p.done:
				return
			case <-every.C:
				fmt.Fprintf(log, "%s: %s: %s\n", title, rounded(time.Since(started)), lastWords(p.said.String()))
			}
		}
	})
	return p
}

func (p *progress) Write(b []byte) (int, error) { return p.said.Write(b) }

// stop ends the lines; none comes after it.
func (p *progress) stop() {
	close(p.done)
	p.wg.Wait()
}
