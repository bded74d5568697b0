package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/podspec/podlabel"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// renderOptions are the flags of `gantry render`.
type renderOptions struct {
	file         string // --config
	input        string
	mode, volume string
	template     string
	runnerPod    string
}

func newRenderCmd(p *Process) *cobra.Command {
	var o renderOptions
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print the pod that a job gets in Kubernetes, without a cluster",
		Example: `  gantry render --job-input prepare_job.json --mode pod --template pod.yaml
  kubectl get pod runner-1 -o yaml >runner.yaml && gantry render --runner-pod runner.yaml <prepare_job.json`,
		Long: `The input is the call of prepare_job that the runner makes, as a recorded session has it. The configuration, the pod
template and the options of the workflow are in what is printed; variables that may be secrets are not, and nothing is asked
of a registry. In-pod it is the ephemeral containers that the runner's pod gets. What is lost is told on standard error.`,
		Args:        onlyFlags,
		Annotations: exits("printed", "the job would fail, and why"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.file = cmd.Flag("config").Value.String()
			return runRender(p, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.input, "job-input", "-", "the call of prepare_job, a file; - for standard input")
	f.StringVar(&o.mode, "mode", "", "in-pod, pod or auto (default: kubernetes.mode of the configuration)")
	f.StringVar(&o.volume, "volume", "", "of mode pod: shared, none or auto (default: kubernetes.volume)")
	f.StringVar(&o.template, "template", "", "the pod template, a file (default: kubernetes.template)")
	f.StringVar(&o.runnerPod, "runner-pod", "", "the runner's pod, a YAML file (default: one with an emptyDir for the work folder)")
	return cmd
}

func runRender(p *Process, o renderOptions) error {
	cfg, err := p.renderConfig(o)
	if err != nil {
		return err
	}
	in, args, err := p.prepareCall(o.input)
	if err != nil {
		return err
	}
	parsed, problems := template.Load(cfg.Kubernetes.Template, os.ReadFile)
	if len(problems) > 0 {
		return p.wouldFail(verdict.New(verdict.Configuration, "", "the pod template:\n%w", problems))
	}
	work := cmp.Or(handler.WorkOf(in, p.Getenv("RUNNER_TEMP")), "/home/runner/_work")
	runner, err := p.runnerPod(o.runnerPod, cfg, work)
	if err != nil {
		return err
	}
	spec, err := p.bareHandler(cfg, nil, work).PlanJob(args, renderedJob)
	if err != nil {
		return p.wouldFail(err)
	}
	pod, notes, err := kube.Render(kube.RenderOptions{
		Settings: p.kubeSettings(cfg, parsed), Runner: runner, Work: work, AgentProgram: p.bareHandler(cfg, nil, work).AgentPath,
	}, spec)
	if err != nil {
		return p.wouldFail(err)
	}
	for _, note := range notes {
		fmt.Fprintf(p.Stderr, "gantry: %s\n", note)
	}
	return writePod(p.Stdout, pod)
}

// renderedJob stands for the name of the job, which is random.
const renderedJob = "00000000000000000000000000000000"

// wouldFail tells why a job would fail.
func (p *Process) wouldFail(err error) error {
	verdict.Print(p.Stderr, err)
	return &exitError{exitNegative}
}

// renderConfig is the configuration with the flags above it.
func (p *Process) renderConfig(o renderOptions) (*config.Config, error) {
	place, err := p.place("")
	if err != nil {
		return nil, err
	}
	cfg, err := loadFrom(place.sources(o.file))
	if err != nil {
		return nil, err
	}
	k := &cfg.Kubernetes
	k.Mode, k.Volume = cmp.Or(o.mode, k.Mode), cmp.Or(o.volume, k.Volume)
	if o.template != "" {
		k.Template = config.Document{File: p.abs(o.template)}
	}
	if problems := cfg.Validate(); len(problems) > 0 {
		return nil, usagef("%s %s", strings.Replace(problems[0].Key, "kubernetes.", "--", 1), problems[0].Text)
	}
	return cfg, nil
}

// prepareCall reads the call, from standard input for "-".
func (p *Process) prepareCall(file string) (*hook.Input, *hook.PrepareJobArgs, error) {
	source := p.Stdin
	if file != "-" {
		f, err := os.Open(p.abs(file))
		if err != nil {
			return nil, nil, verdict.New(verdict.Configuration, "--job-input names the call of prepare_job, a JSON file", "%w", err)
		}
		defer f.Close()
		source = f
	}
	in, err := hook.ReadInput(source)
	if err != nil {
		return nil, nil, verdict.Protocol(err)
	}
	if in.Command != hook.PrepareJob {
		return nil, nil, usagef("the call is one of %s: render needs one of %s", in.Command, hook.PrepareJob)
	}
	args, err := hook.DecodePrepareJob(in.Args)
	return in, args, verdict.Protocol(err)
}

// runnerPod reads the runner's pod, or makes one up that suits the mode.
func (p *Process) runnerPod(file string, cfg *config.Config, work string) (*corev1.Pod, error) {
	if file == "" {
		return kube.StandIn(work, cfg.Kubernetes.GithubVolume, cfg.Kubernetes.Volume == "shared"), nil
	}
	text, err := os.ReadFile(p.abs(file))
	if err != nil {
		return nil, verdict.New(verdict.Configuration, "--runner-pod names what `kubectl get pod NAME -o yaml` prints", "%w", err)
	}
	pod := &corev1.Pod{}
	if err := yaml.Unmarshal(text, pod); err != nil || len(pod.Spec.Containers) == 0 {
		return nil, verdict.New(verdict.Configuration, "--runner-pod names what `kubectl get pod NAME -o yaml` prints", "%s is not a pod: %v", file, err)
	}
	return pod, nil
}

// kubeSettings are what the configuration says of Kubernetes.
func (p *Process) kubeSettings(cfg *config.Config, parsed *template.Template) kube.Settings {
	k := cfg.Kubernetes
	return kube.Settings{
		Mode: k.Mode, Volume: k.Volume, LinkVolume: k.GithubVolume, Claim: k.Claim, AgentImage: k.AgentImage,
		UseScheduler: k.UseScheduler, Template: parsed, Labels: podlabel.OfJob(k.Labels, p.Getenv),
		Limits: cfg.Limits, Unsupported: k.UnsupportedOptions,
		Step: engine.Timeouts{Schedule: cfg.Timeouts.Schedule, Start: cfg.Timeouts.Start},
	}
}

// writePod writes a pod as somebody would write it: without what the API server adds.
func writePod(w io.Writer, pod *corev1.Pod) error {
	pod.APIVersion, pod.Kind = "v1", "Pod"
	text, err := yaml.Marshal(pod)
	if err != nil {
		return fmt.Errorf("writing the pod: %w", err)
	}
	written := string(text)
	for _, empty := range []string{"  containers: null\n", "    resources: {}\n", "status: {}\n"} {
		written = strings.ReplaceAll(written, "\n"+empty, "\n")
	}
	_, err = io.WriteString(w, written)
	return err
}
