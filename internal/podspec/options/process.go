package options

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/createopts"
)

// env collects variables: a value that comes twice counts the last time.
func (t *translator) env(uses []createopts.Flag) {
	for _, f := range uses {
		name, value, has := strings.Cut(f.Value, "=")
		switch {
		case name == "":
			t.wrong(createopts.Flag{Written: f.Written}, "a variable needs a name: write NAME=VALUE")
		case !has:
			t.note(f, "a name without a value would be the runner's own variable; write NAME=VALUE")
		default:
			t.setEnv(name, value)
		}
	}
}

func (t *translator) setEnv(name, value string) {
	if t.out.Env == nil {
		t.out.Env = map[string]string{}
	}
	t.out.Env[name] = value
}

func (t *translator) timeZone(f createopts.Flag) {
	if f.Value == "local" {
		t.note(f, "a node has no time zone for jobs; write the zone's name")
		return
	}
	t.setEnv("TZ", f.Value)
}

func (t *translator) entrypoint(f createopts.Flag) {
	if t.Job {
		t.note(f, "the first process of the job container is gantry's own: steps are started by it")
		return
	}
	t.out.Entrypoint = f.Value
}

// init asks for a first process that reaps: the agent does.
func (t *translator) init(f createopts.Flag) {
	if !t.Can.Agent {
		t.note(f, "nothing can be put before the image's own first process")
	}
}

func (t *translator) pull(f createopts.Flag) {
	policies := map[string]corev1.PullPolicy{
		"always": corev1.PullAlways, "newer": corev1.PullAlways, "missing": corev1.PullIfNotPresent, "never": corev1.PullNever,
		"true": corev1.PullAlways, "false": corev1.PullIfNotPresent, // podman's old spelling
	}
	policy, known := policies[f.Value]
	if !known {
		t.wrong(f, "is none of always, missing and never")
		return
	}
	t.c.ImagePullPolicy = policy
}

// ulimit reads "nofile=1024:2048" or "core=-1".
func (t *translator) ulimit(uses []createopts.Flag) {
	for _, f := range uses {
		if !t.Can.Ulimits {
			t.note(f, "%s", noSetting)
			continue
		}
		limit, problem := parseUlimit(f.Value)
		if problem != "" {
			t.wrong(f, "%s", problem)
			continue
		}
		t.out.Ulimits = slices.DeleteFunc(t.out.Ulimits, func(u Ulimit) bool { return u.Name == limit.Name })
		t.out.Ulimits = append(t.out.Ulimits, limit)
	}
}

func parseUlimit(text string) (limit Ulimit, problem string) {
	const form = "write NAME=SOFT or NAME=SOFT:HARD"
	name, values, has := strings.Cut(text, "=")
	if !has || !slices.Contains(ulimitNames(), name) {
		return limit, form + "; the names are " + strings.Join(ulimitNames(), ", ")
	}
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	limit = Ulimit{Name: name}
	var errSoft, errHard error
	limit.Soft, errSoft = ulimitValue(soft)
	limit.Hard, errHard = ulimitValue(hard)
	switch {
	case errSoft != nil || errHard != nil || limit.Soft < -1 || limit.Hard < -1:
		return limit, form + ", with whole numbers or -1 for no limit"
	case limit.Hard >= 0 && (limit.Soft > limit.Hard || limit.Soft < 0):
		return limit, "the soft limit is above the hard one"
	}
	return limit, ""
}

func ulimitValue(text string) (int64, error) {
	if text == "unlimited" {
		return -1, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

func ulimitNames() []string {
	return []string{"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
		"rtprio", "rttime", "sigpending", "stack"}
}
