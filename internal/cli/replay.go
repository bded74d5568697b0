package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/replay"
	"github.com/gantry-ci/gantry/internal/session"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// replayOptions are the flags of `gantry replay`.
type replayOptions struct {
	session, hook, work, node string
	rewrite                   []string
	quiet                     bool
}

func newReplayCmd(p *Process) *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay SESSION --hook PATH",
		Short: "Play the calls of a recorded job against any hook program",
		Example: `  gantry replay /var/tmp/gantry/20260102T150405.000Z-3f2a1b-4711.99 --hook /opt/gantry/hook.sh
  gantry replay SESSION --hook ./index.js --rewrite node:22=mirror.example/node:22`,
		Long: `record_dir in gantry.yaml makes the hook record its calls. They are played in order, in a work folder of their own,
with the state that the hook itself answers. Secrets were not recorded: *** stands for them. The workspace is empty.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("replay needs one recorded session, not %d", len(args))
			}
			return nil
		},
		Annotations: exits("every call ended as recorded", "one ended differently"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.session = args[0]
			ctx, stop := p.interruptible(cmd.Context())
			defer stop()
			return runReplay(ctx, p, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.hook, "hook", "", "the hook program: a .sh, .js or .ps1 file")
	f.StringVar(&o.work, "work", "", "folder for the work folder of the replay, kept afterwards (default: a temporary one)")
	f.StringVar(&o.node, "node", "node", "program for .js hooks")
	f.StringArrayVar(&o.rewrite, "rewrite", nil, "use another image: IMAGE=OTHER; may be given several times")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not show what the hook prints")
	return cmd
}

func runReplay(ctx context.Context, p *Process, o replayOptions) error {
	if o.hook == "" {
		return usagef("replay needs --hook PATH, the hook program to call")
	}
	rewrite, err := parseRewrite(o.rewrite)
	if err != nil {
		return err
	}
	recorded, err := session.Read(p.abs(o.session))
	if err != nil {
		return verdict.New(verdict.Configuration, "name a folder below record_dir, with session.json in it", "%w", err)
	}
	root, remove, err := p.replayRoot(o.work)
	if err != nil {
		return err
	}
	defer func() {
		if err := remove(); err != nil { // another hook may leave files of other users
			fmt.Fprintf(p.Stderr, "gantry: the replay's folder stays: %v\n", err)
		}
	}()
	node := o.node
	if found, err := exec.LookPath(o.node); err == nil {
		node = p.abs(found)
	}
	player := &replay.Player{
		Session: recorded, Hook: p.abs(o.hook), Node: node, Root: root, Environ: p.Environ, Rewrite: rewrite,
	}
	if !o.quiet {
		player.Output = p.Stderr
	}
	return p.play(ctx, player)
}

func (p *Process) play(ctx context.Context, player *replay.Player) error {
	t := newTable("CALL", "COMMAND", "RECORDED", "REPLAYED", "TOOK", "NOW", "")
	differences := 0
	err := player.Play(ctx, func(r replay.Result) {
		number, status, took, note := strconv.Itoa(r.Number), "?", "", ""
		if r.Outcome != nil {
			status, took = strconv.Itoa(r.Outcome.ExitStatus), seconds(r.Outcome.Took())
		}
		switch {
		case r.Added:
			number, status, note = "", "", "added, to leave nothing behind"
		case r.Differs():
			differences++
			note = "DIFFERS"
		}
		if r.Err != nil && !r.Added {
			fmt.Fprintf(p.Stderr, "gantry: call %d: %v\n", r.Number, r.Err)
		}
		t.row(number, string(r.Command), status, strconv.Itoa(r.Status), took, seconds(r.Took), note)
	})
	if err := errors.Join(err, t.print(p.Stdout)); err != nil {
		return fmt.Errorf("replaying the session: %w", err)
	}
	if differences > 0 {
		fmt.Fprintf(p.Stderr, "gantry: %d of %d calls ended differently\n", differences, len(player.Session.Calls))
		return &exitError{exitNegative}
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

func parseRewrite(pairs []string) (map[string]string, error) {
	rewrite := map[string]string{}
	for _, pair := range pairs {
		image, other, ok := strings.Cut(pair, "=")
		if !ok || image == "" || other == "" {
			return nil, usagef("--rewrite takes IMAGE=OTHER, not %q", pair)
		}
		rewrite[image] = other
	}
	return rewrite, nil
}

// replayRoot makes the folder of the replay. One that was asked for stays, and must be empty.
func (p *Process) replayRoot(work string) (root string, remove func() error, err error) {
	if work == "" {
		temp, err := os.MkdirTemp(p.Getenv("TMPDIR"), "gantry-replay-")
		if err != nil {
			return "", nil, verdict.New(verdict.Infrastructure, "name a folder with --work", "making a folder: %w", err)
		}
		return temp, func() error { return os.RemoveAll(temp) }, nil
	}
	root = p.abs(work)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", nil, verdict.New(verdict.Configuration, "name another folder with --work", "making a folder: %w", err)
	}
	folder, err := os.Open(root)
	if err != nil {
		return "", nil, verdict.New(verdict.Configuration, "name another folder with --work", "%w", err)
	}
	defer folder.Close()
	if _, err := folder.Readdirnames(1); !errors.Is(err, io.EOF) {
		return "", nil, usagef("--work needs an empty folder, and %s is not", root)
	}
	return root, func() error { return nil }, nil
}
