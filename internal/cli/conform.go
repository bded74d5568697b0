package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/ociclient"
	"github.com/gantry-ci/gantry/internal/conformance/podclient"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// conformOptions are the flags of `gantry conform`.
type conformOptions struct {
	hook, engine, format, output, node string
	publish, folder                    string
	cases, rewrite                     []string
	list, quiet, copied                bool
	workers                            int
	registry                           conformance.Credentials
	passwordStdin                      bool
}

func newConformCmd(p *Process) *cobra.Command {
	var o conformOptions
	cmd := &cobra.Command{
		Use:   "conform --hook PATH",
		Short: "Judge any container hook: does it do what the runner and its users rely on?",
		Example: `  gantry conform --hook /opt/gantry/hook.sh
  gantry conform --hook ./index.js --engine podman --case 'exit-*' --format html --output report.html`,
		Long: `Plays the runner in many small jobs and looks from outside at what the hook makes of them. Only what must be so counts
for the exit status. Environment variables reach the hook as they are: configure it there. The engine should have no
other work of this hook meanwhile; images are taken from a registry that this command opens on 127.0.0.1, or, on
Kubernetes, from the one that --publish names. There the command runs in a runner's pod, as the hook does.`,
		Args:        onlyFlags,
		Annotations: exits("every case that must pass did", "one did not"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := p.interruptible(cmd.Context())
			defer stop()
			return runConform(ctx, p, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.hook, "hook", "", "the hook program: a .sh, .js or .ps1 file")
	f.StringVar(&o.engine, "engine", "docker", "the engine that the hook uses: docker, podman or kubernetes")
	f.StringVar(&o.publish, "publish", "", "for kubernetes: HOST/PREFIX of a registry that takes images and from which nodes pull")
	f.StringVar(&o.folder, "runner-folder", "", "for kubernetes: the runner's folder, with nothing in it but an empty _work, which lies on the volume that the hook expects")
	f.BoolVar(&o.copied, "work-copied", false, "for kubernetes: the hook copies the work folder to its containers and back")
	f.StringVar(&o.format, "format", "text", "format of the report: text, json, junit or html")
	f.StringVar(&o.output, "output", "", "file for the report (default: standard output)")
	f.StringArrayVar(&o.cases, "case", nil, "only cases whose id matches this pattern; may be given several times")
	f.BoolVar(&o.list, "list", false, "show the cases and run none")
	f.StringArrayVar(&o.rewrite, "image-rewrite", nil, "take another base image: busybox:1=OTHER or debian:stable-slim=OTHER; may be given several times")
	f.StringVar(&o.node, "node", "node", "program for .js hooks")
	f.IntVar(&o.workers, "jobs", 1, "how many jobs may run at the same time, for hooks that are not disturbed by it")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not tell of each case as it ends")
	f.StringVar(&o.registry.Host, "registry", "", "HOST:PORT of a registry with a password, for the cases of credentials (default: one of the suite's own)")
	f.StringVar(&o.registry.Image, "registry-image", "", "an image there that has a shell, without the host: private/busybox:1")
	f.StringVar(&o.registry.User, "registry-user", "", "user of that registry")
	f.BoolVar(&o.passwordStdin, "registry-password-stdin", false, "read that registry's password from standard input")
	return cmd
}

func runConform(ctx context.Context, p *Process, o conformOptions) error {
	all, err := conformance.Cases()
	if err != nil {
		return fmt.Errorf("%s: %w", verdict.Bug, err)
	}
	chosen, err := conformance.Match(o.cases)
	if err != nil {
		return usagef("--case: %v", err)
	}
	if o.list {
		return p.listCases(all, chosen)
	}
	write, err := o.check()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all.Cases, func(c conformance.Case) bool { return chosen(&c) }) {
		return usagef("no case matches %q", o.cases)
	}
	suite, remove, err := p.suite(ctx, o)
	if err != nil {
		return err
	}
	report := &conformance.Report{Hook: suite.Hook, Engine: o.engine, Started: p.Now()}
	report.Results, err = suite.Run(ctx, all, chosen)
	report.Took = p.Now().Sub(report.Started).Seconds()
	if err := errors.Join(err, remove()); err != nil {
		return verdict.New(verdict.Infrastructure, "see that the engine works; name the images you have with --image-rewrite", "running the cases: %w", err)
	}
	if err := p.writeReport(report, write, o.output); err != nil {
		return err
	}
	switch {
	case report.Errors() > 0:
		fmt.Fprintf(p.Stderr, "gantry: %d cases could not be judged\n", report.Errors())
		return &exitError{exitCouldNot}
	case !report.Conforms():
		return &exitError{exitNegative}
	}
	return nil
}

// check finds mistakes on the command line, and the report's format.
func (o *conformOptions) check() (func(*conformance.Report, io.Writer) error, error) {
	write := conformance.Formats()[o.format]
	switch {
	case o.hook == "":
		return nil, usagef("conform needs --hook PATH, the hook program to judge")
	case engines(o)[o.engine] == nil:
		return nil, usagef("--engine is docker, podman or kubernetes, not %q", o.engine)
	case write == nil:
		return nil, usagef("--format is text, json, junit or html, not %q", o.format)
	case o.engine == "kubernetes" && (o.publish == "" || o.folder == ""):
		return nil, usagef("--engine kubernetes needs --publish HOST/PREFIX and --runner-folder DIR")
	case o.engine != "kubernetes" && (o.publish != "" || o.folder != "" || o.copied):
		return nil, usagef("--publish, --runner-folder and --work-copied are for --engine kubernetes")
	case o.workers < 1:
		return nil, usagef("--jobs is at least 1")
	case o.registry.Host != "" && (o.registry.User == "" || !o.passwordStdin || o.registry.Image == ""):
		return nil, usagef("--registry needs --registry-image, --registry-user and --registry-password-stdin")
	}
	return write, nil
}

// engines has what finds an engine, by its name.
func engines(o *conformOptions) map[string]func(context.Context, *Process) (conformance.Engine, error) {
	all := map[string]func(context.Context, *Process) (conformance.Engine, error){
		"kubernetes": func(ctx context.Context, p *Process) (conformance.Engine, error) {
			return podclient.Find(ctx, podclient.Options{Environ: p.Environ, Publish: o.publish, Copied: o.copied})
		},
	}
	for _, name := range ociclient.Names() {
		all[name] = func(ctx context.Context, p *Process) (conformance.Engine, error) {
			return ociclient.Find(ctx, name, p.Environ, p.UID)
		}
	}
	return all
}

// suite makes a suite with a folder of its own below /tmp: hooks may have sockets there, of which paths are short.
func (p *Process) suite(ctx context.Context, o conformOptions) (*conformance.Suite, func() error, error) {
	rewrite, err := parseRewrite(o.rewrite)
	if err != nil {
		return nil, nil, err
	}
	hook := p.abs(o.hook)
	if info, err := os.Stat(hook); err != nil || info.IsDir() {
		return nil, nil, usagef("--hook: there is no file %s", hook)
	}
	if !slices.Contains([]string{".sh", ".js", ".ps1"}, filepath.Ext(hook)) {
		return nil, nil, usagef("--hook: the runner starts only .sh, .js and .ps1 files, not %s", filepath.Base(hook))
	}
	if o.passwordStdin {
		password, err := io.ReadAll(p.Stdin)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the registry's password: %w", err)
		}
		o.registry.Password = strings.TrimRight(string(password), "\n")
	}
	engine, err := engines(&o)[o.engine](ctx, p)
	if err != nil {
		return nil, nil, verdict.New(verdict.Configuration, "name another engine with --engine", "%w", err)
	}
	if o.folder != "" {
		if o.folder = p.abs(o.folder); !unused(o.folder) {
			return nil, nil, usagef("--runner-folder: %s must be a folder with nothing in it but an empty _work", o.folder)
		}
	}
	dir, err := os.MkdirTemp(p.Getenv("TMPDIR"), "conform-")
	if err != nil {
		return nil, nil, verdict.New(verdict.Infrastructure, "set TMPDIR to a folder that can be written", "making a folder: %w", err)
	}
	suite := &conformance.Suite{
		Hook: hook, Node: o.node, Environ: p.Environ, Engine: engine, Dir: dir, UID: p.UID, Rewrite: rewrite,
		Registry: o.registry, Workers: o.workers, Folder: o.folder,
	}
	if o.engine == "kubernetes" {
		suite.Patience = podPatience
	}
	if node, err := exec.LookPath(o.node); err == nil {
		suite.Node = p.abs(node)
	}
	if !o.quiet {
		suite.Tell = func(r conformance.Result) {
			fmt.Fprintf(p.Stderr, "%-13s %s\n", r.Outcome, r.Case.ID)
		}
	}
	return suite, func() error { return os.RemoveAll(dir) }, nil
}

// podPatience is for pods, which have half a minute to end.
const podPatience = 45 * time.Second

// unused says whether a folder has nothing in it but an empty folder _work.
func unused(folder string) bool {
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "_work" {
		return false
	}
	within, err := os.ReadDir(filepath.Join(folder, "_work"))
	return len(within) == 0 && (err == nil || errors.Is(err, os.ErrNotExist))
}

func (p *Process) writeReport(report *conformance.Report, write func(*conformance.Report, io.Writer) error, path string) error {
	if path == "" {
		return write(report, p.Stdout)
	}
	file, err := os.Create(p.abs(path))
	if err != nil {
		return verdict.New(verdict.Configuration, "name another file with --output", "writing the report: %w", err)
	}
	if err := errors.Join(write(report, file), file.Close()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (p *Process) listCases(all *conformance.Collection, chosen func(*conformance.Case) bool) error {
	t := newTable("ID", "LEVEL", "AREA", "NEEDS", "TITLE")
	for i := range all.Cases {
		if c := &all.Cases[i]; chosen(c) {
			t.row(c.ID, string(c.Level), c.Area, strings.Join(all.Needs(c), ","), c.Title)
		}
	}
	return t.print(p.Stdout)
}
