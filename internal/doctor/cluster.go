package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/handler"
	"github.com/gantry-ci/gantry/internal/imagebuild"
	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// cluster is what the engine for Kubernetes tells beside what every engine does.
type cluster interface {
	Survey(ctx context.Context, runner string) (kube.Survey, error)
	Exists(ctx context.Context) error
}

// inCluster makes a check out of one that looks at the survey.
func inCluster(check func(e *exam, s *kube.Survey) Finding) func(context.Context, *exam) Finding {
	return func(_ context.Context, e *exam) Finding {
		if e.survey == nil {
			return skipped("the runner's pod has to be looked at first")
		}
		return check(e, e.survey)
	}
}

// checkPod surveys the cluster, and tells where the runner is.
func checkPod(ctx context.Context, e *exam) Finding {
	c, is := e.engine.(cluster)
	if !is {
		return skipped("not for %s", e.info.Name)
	}
	s, err := c.Survey(ctx, e.runnerID())
	if err != nil {
		return failed(err)
	}
	e.survey = &s
	if s.Pod == "" {
		return outsidePod(c.Exists(ctx), s)
	}
	return ok("%s on node %s, in the namespace %s of %s, with the service account %s", s.Pod, s.Node, s.Namespace, s.Server, s.Account)
}

// outsidePod is about a pod that is not there, or not to be seen. exists tells of the namespace.
func outsidePod(exists error, s kube.Survey) Finding {
	judge := warn
	if s.ChoiceErr != nil {
		judge = fail
	}
	switch {
	case errors.Is(exists, engine.ErrNotFound):
		return failed(exists)
	case s.Unread != "":
		return judge(verdict.Configuration, kube.ReadPodHint, "%s", s.Unread)
	}
	return judge(verdict.Configuration, "run the doctor where the runner runs: kubectl exec -it POD -- /opt/gantry/gantry doctor",
		"this is not a pod of the cluster (%s, by %s)", s.Server, s.Source)
}

// runnerID is the runner's label of its containers.
func (e *exam) runnerID() string {
	if e.Runner == nil {
		return ""
	}
	return handler.RunnerID([]string{e.Runner.Dir}, e.getenv("RUNNER_NAME"))
}

func checkPermissions(_ *exam, s *kube.Survey) Finding {
	if len(s.Lacking) == 0 {
		if s.ChoiceErr != nil {
			return ok("no permission is missing")
		}
		return ok("the mode %s has all that it makes use of", s.Choice.Mode)
	}
	var lines []string
	judge := warn
	for _, r := range s.Lacking {
		line := fmt.Sprintf("%s of %s: %s", strings.Join(r.Verbs, ", "), r.Resource, r.Why)
		if r.Optional != "" {
			line += "; without, " + r.Optional
		} else if s.ChoiceErr != nil {
			judge = fail
		}
		lines = append(lines, line)
	}
	return judge(verdict.Configuration, kube.AddToRole(s.Lacking), "the service account may not\n%s", strings.Join(lines, "\n"))
}

func checkMode(_ *exam, s *kube.Survey) Finding {
	if s.ChoiceErr != nil {
		return failed(s.ChoiceErr)
	}
	var what, mend []string
	for _, o := range s.Choice.Obstacles {
		line := fmt.Sprintf("not %s: %s", o.Mode, o.What)
		if o.Mode == s.Choice.Mode {
			line = "although " + o.What
		}
		what = append(what, line)
		if o.Mend != "" {
			mend = append(mend, o.Mend)
		}
	}
	if len(what) == 0 {
		return ok("%s (kubernetes.mode is %s, kubernetes.volume %s)", s.Choice.Mode, s.Mode, s.Volume)
	}
	mend = append(mend, "or leave it so, and set kubernetes.mode and kubernetes.volume to what is chosen")
	return warn(verdict.Configuration, strings.Join(mend, "\n"), "%s\n%s", s.Choice.Mode, strings.Join(what, "\n"))
}

func checkWorkVolume(e *exam, s *kube.Survey) Finding {
	switch {
	case s.Pod == "" || e.Runner == nil:
		return skipped("the runner and its pod have to be known first")
	case s.WorkVolume == "":
		return ok("%s is on none: pods of the jobs' own get copies of what is in it", s.WorkFolder)
	}
	text := fmt.Sprintf("%s is on the volume %s (%s)", s.WorkFolder, s.WorkVolume, s.WorkKind)
	if !s.WorkWhole {
		text += ", of which the runner mounts a part"
	}
	if s.Claim != "" {
		text += ", the claim " + s.Claim
	}
	switch inPod := s.ChoiceErr == nil && s.Choice.Mode == kube.InPod; {
	case inPod && s.WorkMount != s.WorkFolder:
		return warn(verdict.Configuration, "mount the volume at "+s.WorkFolder,
			"%s, mounted at %s: images whose user is not root cannot have the folder /__w", text, s.WorkMount)
	case inPod && !s.LinkVolume:
		return warn(verdict.Configuration, "mount one more emptyDir in the runner's pod, called "+s.LinkName+" (kubernetes.github_volume)",
			"%s; there is no second volume, so images whose user is not root have no folder /github", text)
	}
	return ok("%s", text)
}

// checkShare explains what jobs have of the runner's pod: ephemeral containers have no resources of their own.
func checkShare(_ *exam, s *kube.Survey) Finding {
	if s.ChoiceErr != nil || s.Choice.Mode != kube.InPod {
		return skipped("pods of the jobs' own have what container.options, limits and the template say")
	}
	r := s.Share
	if r == (kube.Share{}) {
		return warn(verdict.Configuration, "give the runner's container, or its pod, the resources that its jobs need",
			"the runner's pod asks for none (QoS %s): its jobs, which run in it, are the first to be ended when the node is short of memory", s.QoS)
	}
	or := func(value, none string) string {
		if value == "" {
			return none
		}
		return value
	}
	return ok("jobs have none of their own in-pod, and share those of the runner's pod (QoS %s): cpu %s is asked for, with %s; memory %s, with %s", s.QoS,
		or(r.RequestedCPU, "0"), or(prefixed("a limit of ", r.CPULimit), "no limit"),
		or(r.RequestedMemory, "0"), or(prefixed("a limit of ", r.MemoryLimit), "no limit"))
}

func prefixed(prefix, value string) string {
	if value == "" {
		return ""
	}
	return prefix + value
}

func checkOneJob(e *exam, s *kube.Survey) Finding {
	const next = "let a runner's pod serve one job: ephemeral runners, as a scale set's are"
	switch {
	case !slices.Contains(kube.Wanted(s.Mode, s.Volume), kube.InPod):
		return skipped("pods of the jobs' own can follow one another")
	case s.Served != "":
		return warn(verdict.Configuration, next, "the runner's pod has served a job (%s)", s.Served)
	case e.Runner == nil || !e.Runner.Configured:
		return skipped("the runner is not configured yet")
	case !e.Runner.Ephemeral:
		return warn(verdict.Configuration, next, "the runner %s is not ephemeral: in-pod is for its first job", e.Runner.Name)
	}
	return ok("the runner %s is ephemeral", e.Runner.Name)
}

func checkAgentImage(_ *exam, s *kube.Survey) Finding {
	switch {
	case s.NoAgentImage == "":
		return ok("%s has %s", s.AgentImage, s.AgentProgram)
	case s.ChoiceErr != nil:
		return fail(verdict.Configuration, "set kubernetes.agent_image to an image that has gantry-agent there", "%s", s.NoAgentImage)
	}
	return ok("%s; the mode %s does not need it", s.NoAgentImage, s.Choice.Mode)
}

// checkNode looks for what JavaScript actions are run by: the runner's own node, which its image has.
func checkNode(e *exam, _ *kube.Survey) Finding {
	if e.Runner == nil {
		return skipped("there is no runner")
	}
	dir := filepath.Join(e.Runner.Dir, "externals")
	found, err := filepath.Glob(filepath.Join(dir, "node*", "bin", "node"))
	if err != nil || len(found) == 0 {
		return warn(verdict.Configuration, "use an image that has the runner with all of its folders", "there is no node in %s: JavaScript actions cannot run in job containers", dir)
	}
	var names []string
	for _, program := range found {
		names = append(names, filepath.Base(filepath.Dir(filepath.Dir(program))))
	}
	return ok("%s has %s", dir, strings.Join(names, ", "))
}

// checkTemplate reads the template although no engine may be there: a wrong one is why.
func checkTemplate(_ context.Context, e *exam) Finding {
	switch {
	case e.ConfigErr != nil:
		return skipped("the configuration has to be valid first")
	case e.meant() != "" && e.meant() != kube.Name:
		return elsewhere(e.meant())
	case e.Config.Kubernetes.Template.IsZero():
		return skipped("there is none")
	}
	_, problems := template.Load(e.Config.Kubernetes.Template, os.ReadFile)
	if len(problems) > 0 {
		return fail(verdict.Configuration, "correct these lines; `gantry config --check` reads them again", "%v", problems)
	}
	if e.survey != nil && len(e.survey.NeedsOwnPod) > 0 {
		return ok("it can be read, and asks for pods of the jobs' own (%s)", strings.Join(e.survey.NeedsOwnPod, ", "))
	}
	return ok("it can be read")
}

// checkBuilder is about Dockerfile actions.
func checkBuilder(ctx context.Context, e *exam) Finding {
	b := e.Config.Kubernetes.Build
	if b.Registry == "" {
		return skipped("kubernetes.build.registry is not set: Dockerfile actions are refused")
	}
	name, program, err := imagebuild.New(imagebuild.Config{Tool: b.Tool, Path: b.Path, Address: b.Address, Env: e.Environ}).Tool()
	if err != nil {
		return failed(err)
	}
	if _, err := e.engine.HasImage(ctx, trialName+":0"); err != nil {
		return failed(err)
	}
	return ok("%s (%s) builds, and %s answers", name, program, b.Registry)
}
