package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/engine/ocicli"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/hangup"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/memfd"
	"github.com/gantry-ci/gantry/internal/responsefile"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func newHookCmd(p *Process) *cobra.Command {
	var resume string
	var signal int
	cmd := &cobra.Command{
		Use:   "hook",
		Short: "Do one command of the runner (started by hook.sh)",
		Long: `Reads one command of the runner's container hook protocol from standard input, does it, and answers in the
response file. The runner starts it through hook.sh; there is no need to start it by hand.

Exit status: 0 done, the step's own status when a step fails, 1 when gantry could not do its work.`,
		Args: onlyFlags,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := again(signal); err != nil {
				return err
			}
			if out, ok := p.Stdout.(*os.File); ok {
				go hangup.Terminate(int(out.Fd()))
			}
			code, err := runHook(cmd.Context(), p, cmd.Flag("config").Value.String(), resume)
			if err != nil {
				verdict.Print(p.Stderr, err)
			}
			if code != 0 {
				return &exitError{code}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&resume, "resume", "", "go on with a step: ID:OFFSET:PROGRESS")
	cmd.Flags().IntVar(&signal, "signal", 0, "a signal that came before this program")
	_ = cmd.Flags().MarkHidden("resume") // fails only for a flag that does not exist
	_ = cmd.Flags().MarkHidden("signal") // as above
	return cmd
}

// again sends this process a signal that the program before it, in the same process, could not pass on.
func again(signal int) error {
	if signal == 0 {
		return nil
	}
	if err := syscall.Kill(os.Getpid(), syscall.Signal(signal)); err != nil {
		return verdict.New(verdict.Bug, "", "reading --signal %d: %w", signal, err)
	}
	return nil
}

// runHook does one command. A code that is not 0 comes with an error that explains it.
func runHook(ctx context.Context, p *Process, configFlag, resume string) (int, error) {
	text, err := io.ReadAll(p.Stdin)
	if err != nil {
		return 1, verdict.New(verdict.Infrastructure, "", "reading the command from standard input: %w", err)
	}
	in, err := hook.ParseInput(text)
	if err != nil {
		return 1, verdict.Protocol(err)
	}
	cfg, err := p.loadConfig(configFlag)
	if err != nil {
		return 1, err
	}
	watch := p.watch(cfg, in)
	if program := cfg.Overrides[string(in.Command)]; program != "" {
		return 1, override(program, text, p.Environ)
	}
	code, err := p.serve(ctx, cfg, in, resume, watch.log)
	watch.end(code, err)
	return code, err
}

// serve does the work of one command.
func (p *Process) serve(ctx context.Context, cfg *config.Config, in *hook.Input, resume string, log *slog.Logger) (int, error) {
	h, err := p.newHandler(ctx, cfg, in, resume, log)
	if err != nil {
		return 1, err
	}
	code, err := hook.Serve(ctx, hook.ServeOptions{Input: in, OpenResponse: responsefile.Opener(h.Runner.Work)}, h)
	return code, verdict.Protocol(err)
}

// newHandler puts the parts together for one command.
func (p *Process) newHandler(ctx context.Context, cfg *config.Config, in *hook.Input, resume string, log *slog.Logger) (*handler.Handler, error) {
	work := handler.WorkOf(in, p.Getenv("RUNNER_TEMP"))
	eng, err := p.engine(ctx, cfg, p.Environ, work, log)
	if err != nil {
		return nil, err
	}
	h := p.bareHandler(cfg, eng, work)
	h.Log = p.Stdout
	if in.Command == hook.RunScriptStep || in.Command == hook.RunContainerStep {
		h.Log = p.Stderr // standard output is the step's, byte for byte
	}
	if in.Command != hook.CleanupJob && jobsCanWrite(h.Store.Dir, h.Runner.Work) {
		return nil, verdict.New(verdict.Configuration, "set state_dir (GANTRY_STATE_DIR) to a folder that only the runner's user can write, outside of _work",
			"the state folder %s lies in the runner's work folder, where jobs can write", h.Store.Dir)
	}
	h.Resume, err = parseResume(resume)
	return h, err
}

// jobsCanWrite says whether the state folder lies in the work folder, which job containers mount.
func jobsCanWrite(stateDir, work string) bool {
	_, below := safefs.Rel(safefs.RealPath(work), safefs.RealPath(stateDir))
	return work != "" && below
}

// bareHandler is a handler for work folder work, which may be "".
func (p *Process) bareHandler(cfg *config.Config, eng engine.Engine, work string) *handler.Handler {
	return &handler.Handler{
		Config: cfg, Engine: eng, Store: jobrecord.Store{Dir: p.stateDir(cfg)},
		Runner:    handler.Runner{ID: p.runnerID(cfg, work), Work: work},
		AgentPath: filepath.Join(filepath.Dir(p.Executable), "gantry-agent"),
		Out:       p.Stdout, Env: p.Environ, Log: p.Stderr, Signals: p.Signals, UID: p.UID, GID: p.GID,
	}
}

func (p *Process) runnerID(cfg *config.Config, work string) string {
	dirs := []string{cfg.RunnerDir}
	if work != "" {
		dirs = append(dirs, filepath.Dir(work))
	}
	return handler.RunnerID(dirs, p.Getenv("RUNNER_NAME"))
}

func (p *Process) stateDir(cfg *config.Config) string {
	if cfg.StateDir != "" {
		return cfg.StateDir
	}
	return jobrecord.DefaultDir(p.Getenv)
}

// loadConfig loads the configuration of this process.
func (p *Process) loadConfig(flag string) (*config.Config, error) {
	return loadFrom(config.Sources{
		Flag: flag, Candidates: config.Candidates(filepath.Dir(p.Executable)), Environ: p.Environ,
	})
}

func loadFrom(sources config.Sources) (*config.Config, error) {
	cfg, err := config.Load(sources)
	if err != nil {
		return nil, verdict.New(verdict.Configuration, "`gantry config` shows the configuration that is in force", "%w", err)
	}
	return cfg, nil
}

// engine opens the configured engine for a work folder, which may be "". Its program gets environ; log, if any, what it
// is asked.
func (p *Process) engine(ctx context.Context, cfg *config.Config, environ []string, work string, log *slog.Logger) (engine.Engine, error) {
	opts := ocicli.Options{Name: cfg.Engine, Path: cfg.EnginePath, Env: environ, Log: log, TempDir: filepath.Join(p.stateDir(cfg), "private")}
	switch cfg.Engine {
	case "auto":
		found, err := ocicli.Detect(ctx, opts)
		if errors.Is(err, engine.ErrUnavailable) && p.clusterSources(cfg, environ).InPod() {
			return p.kubernetes(cfg, environ, work, log)
		}
		return found, err
	case kube.Name:
		return p.kubernetes(cfg, environ, work, log)
	}
	return ocicli.New(opts)
}

func parseResume(text string) (*handler.Resume, error) {
	if text == "" {
		return nil, nil
	}
	id, rest, _ := strings.Cut(text, ":")
	number, progress, known := strings.Cut(rest, ":")
	r := &handler.Resume{StepID: id}
	var err error
	if r.Offset, err = strconv.ParseInt(number, 10, 64); err == nil && known {
		err = json.Unmarshal([]byte(progress), &r.Progress)
	}
	if err != nil {
		return nil, verdict.New(verdict.Bug, "", "reading --resume %q: %w", text, err)
	}
	return r, nil
}

// override gives the command to the user's own program, with the same input and environment.
func override(program string, text []byte, environ []string) error {
	if err := memfd.AsStdin(text); err != nil {
		return err
	}
	err := syscall.Exec(program, []string{program}, environ)
	return verdict.New(verdict.Configuration, "see `overrides` in gantry.yaml; the program must be executable", "starting %s: %w", program, err)
}
