package options_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/podspec/options"
)

var update = flag.Bool("update", false, "write testdata anew")

// kinds are the containers that the cases in testdata are for.
func kinds() map[string]options.Request {
	return map[string]options.Request{
		"job":     {Job: true, Can: options.Abilities{Agent: true, Ulimits: true, Mounts: true}},
		"service": {},
		"in-pod job": {Job: true, Target: options.Ephemeral,
			Can: options.Abilities{Agent: true, Ulimits: true, Hosts: true}},
		"in-pod service": {Target: options.Ephemeral},
	}
}

// What becomes of options: testdata/translate.txtar has "KIND: OPTIONS" and then the changes as YAML.
func TestTranslate(t *testing.T) {
	const file = "testdata/translate.txtar"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := txtar.Parse(text)
	for i, c := range archive.Files {
		kind, flags, _ := strings.Cut(c.Name, ": ")
		r, known := kinds()[kind]
		if !known {
			t.Fatalf("there is no kind %q", kind)
		}
		got := translate(t, r, flags)
		if *update {
			archive.Files[i].Data = []byte(got)
		} else if diff := cmp.Diff(string(c.Data), got); diff != "" {
			t.Errorf("%s\n%s", c.Name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// translate shows all that Apply does with flags, as YAML, or its error.
func translate(t *testing.T, r options.Request, flags string) string {
	t.Helper()
	asked, err := createopts.Parse(flags)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	r.Args = asked.Args
	pod, c := &corev1.Pod{}, &corev1.Container{Name: "c"}
	out, err := options.Apply(r, pod, c)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	c.Name = ""
	var b bytes.Buffer
	for _, part := range []struct {
		name  string
		value any
	}{
		{"container", c}, {"labels", pod.Labels}, {"annotations", pod.Annotations}, {"pod", pod.Spec}, {"env", out.Env},
		{"entrypoint", out.Entrypoint}, {"health", out.Health}, {"names", out.Names}, {"hosts", out.Hosts},
		{"ulimits", out.Ulimits}, {"mounts", out.Mounts},
	} {
		b.WriteString(written(t, part.name, part.value))
	}
	for _, n := range out.Notes {
		b.WriteString("note: " + n.String() + "\n")
	}
	return b.String()
}

func written(t *testing.T, name string, value any) string {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{name: value})
	if err != nil {
		t.Fatal(err)
	}
	s := strings.ReplaceAll(strings.ReplaceAll(string(text), "  name: \"\"\n", ""), "  containers: null\n", "")
	s = strings.ReplaceAll(s, "  resources: {}\n", "")
	if strings.Count(s, "\n") == 1 && (strings.HasSuffix(s, ":\n") || strings.HasSuffix(s, ": null\n") ||
		strings.HasSuffix(s, ": \"\"\n")) {
		return ""
	}
	return s
}

// Every flag that workflows may write does something or says why not, for every kind of container.
func TestNoFlagIsDroppedSilently(t *testing.T) {
	for _, spec := range createopts.Table() {
		if spec.Refused != "" || slices.Contains(options.NothingToDo(), spec.Name) {
			continue
		}
		args := []string{"--" + spec.Name}
		if spec.Kind != createopts.Bool {
			args = append(args, plausible(spec.Name))
		}
		for kind, r := range kinds() {
			r.Args = args
			pod, c := &corev1.Pod{}, &corev1.Container{Name: "c"}
			out, err := options.Apply(r, pod, c)
			if err != nil {
				t.Errorf("%s: %q: %v", kind, args, err)
			}
			unchanged := cmp.Equal(pod, &corev1.Pod{}) && cmp.Equal(c, &corev1.Container{Name: "c"}) &&
				cmp.Equal(out, options.Result{})
			if unchanged && !(spec.Name == "init" && r.Can.Agent) {
				t.Errorf("%s: nothing comes of %q", kind, args)
			}
		}
	}
}

// plausible is a value that a flag understands.
func plausible(name string) string {
	values := map[string]string{
		"add-host": "db:10.0.0.1", "annotation": "a=b", "cpus": "2", "dns": "10.0.0.1", "env": "A=b", "gpus": "2",
		"group-add": "5", "label": "a=b", "mount": "type=tmpfs,target=/x", "volume": "/x", "tmpfs": "/x", "memory": "1g",
		"platform": "linux/arm64", "arch": "arm64", "os": "linux", "pull": "never", "shm-size": "1g", "sysctl": "a.b=1",
		"storage-opt": "size=1g", "ulimit": "nofile=5", "user": "5", "workdir": "/x", "security-opt": "no-new-privileges",
		"health-cmd": "true", "device": "/dev/x", "dns-search": "example.com", "name": "a", "network": "n:alias=a",
	}
	if value, ok := values[name]; ok {
		return value
	}
	return "host"
}

// Every flag that does something is told of, and no other.
func TestMeanings(t *testing.T) {
	said := map[string]bool{}
	for _, m := range options.Meanings() {
		if said[m.Flag] || m.Means == "" {
			t.Errorf("%+v", m)
		}
		said[m.Flag] = true
		name := strings.TrimPrefix(m.Flag, "--")
		if strings.HasSuffix(name, "*") || slices.Contains(options.NothingToDo(), name) {
			continue
		}
		r := kinds()["in-pod job"]
		r.Can.Mounts = true
		r.Args = []string{m.Flag, plausible(name)}
		if spec, ok := createopts.Lookup(m.Flag); !ok {
			t.Errorf("there is no flag %s", m.Flag)
		} else if spec.Kind == createopts.Bool {
			r.Args = r.Args[:1]
		}
		out, err := options.Apply(r, nil, &corev1.Container{Name: "c"})
		if err != nil || m.Flag != "--device" && m.Flag != "--network" && m.Flag != "--entrypoint" && m.Flag != "--volume" &&
			m.Flag != "--mount" && (len(out.Notes) == 0) != m.InPod {
			t.Errorf("%s: in-pod %v, but %v %v", m.Flag, m.InPod, out.Notes, err)
		}
	}
	for _, spec := range createopts.Table() {
		if _, lost := options.Unsupported()[spec.Name]; spec.Refused == "" && !lost && !said["--"+spec.Name] &&
			!slices.Contains(options.NothingToDo(), spec.Name) {
			t.Errorf("--%s is not told of", spec.Name)
		}
	}
}

// The administrator's limits are flags behind the workflow's, and the lower value of both holds.
func TestLimitsAreCaps(t *testing.T) {
	limits := config.Limits{CPUs: "4", Memory: "2g"}
	behind := []string{"--cpus=4", "--memory=2g"}
	for _, tt := range []struct {
		asked            []string
		cpu, memory      string // the limits
		wantCPU, wantMem string // the requests; "" for none
	}{
		{nil, "4", "2Gi", "", ""},
		{[]string{"--cpus", "1", "--memory", "512m"}, "1", "512Mi", "1", "512Mi"},
		{[]string{"--cpus", "8", "--memory", "8g"}, "4", "2Gi", "4", "2Gi"},
		{[]string{"--cpus", "4.0"}, "4", "2Gi", "4", ""},
		{[]string{"--cpus", "0"}, "4", "2Gi", "", ""},
		{[]string{"--cpu-shares", "512", "--memory-reservation", "1g"}, "4", "2Gi", "500m", "1Gi"},
		{[]string{"--cpu-shares", "8192", "--memory-reservation", "8g"}, "4", "2Gi", "4", "2Gi"},
		{[]string{"--cpus", "2", "--cpu-shares", "1024"}, "2", "2Gi", "1", ""},
	} {
		for _, args := range [][]string{tt.asked, append(slices.Clone(tt.asked), behind...)} {
			c := &corev1.Container{Name: "c"}
			out, err := options.Apply(options.Request{Args: args, Limits: limits}, &corev1.Pod{}, c)
			if err != nil || len(out.Notes) > 0 {
				t.Errorf("%q: %v %v", args, err, out.Notes)
			}
			got := []string{quantity(c.Resources.Limits, "cpu"), quantity(c.Resources.Limits, "memory"),
				quantity(c.Resources.Requests, "cpu"), quantity(c.Resources.Requests, "memory")}
			if diff := cmp.Diff([]string{tt.cpu, tt.memory, tt.wantCPU, tt.wantMem}, got); diff != "" {
				t.Errorf("%q: %s", args, diff)
			}
		}
	}
}

func quantity(list corev1.ResourceList, name corev1.ResourceName) string {
	q, ok := list[name]
	if !ok {
		return ""
	}
	return q.String()
}

// Limits that cannot be set are told, and are never the workflow's fault.
func TestLimitsThatCannotBeSet(t *testing.T) {
	r := options.Request{Target: options.Ephemeral, Unsupported: "fail",
		Args: []string{"--cpus=4", "--pids-limit=100"}, Limits: config.Limits{CPUs: "4", Memory: "2g", Pids: 100}}
	out, err := options.Apply(r, nil, &corev1.Container{Name: "c"})
	if err != nil || len(out.Notes) != 3 {
		t.Errorf("%v, and notes %v; want one for each of three limits", err, out.Notes)
	}
}

func TestUnsupportedByPolicy(t *testing.T) {
	args := []string{"--device", "/dev/fuse", "--memory", "lots", "-e", "TOKEN=hunter2", "-e", "OTHER", "--link", "a"}
	r := options.Request{Args: args, Unsupported: "fail"}
	_, err := options.Apply(r, &corev1.Pod{}, &corev1.Container{Name: "c"})
	unsupported, isUnsupported := errors.AsType[*options.UnsupportedError](err)
	value, isValue := errors.AsType[*options.ValueError](err)
	if !isUnsupported || !isValue || len(unsupported.Notes) != 3 || value.Flag != "--memory" {
		t.Errorf("got %v, want both the bad value and three unsupported flags", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a variable's value is told: %v", err)
	}
	r.Unsupported, r.Args = "warn", args[:2]
	if out, err := options.Apply(r, &corev1.Pod{}, &corev1.Container{Name: "c"}); err != nil || len(out.Notes) != 1 {
		t.Errorf("with warn: %v %v", out.Notes, err)
	}
}

// What is in the pod already stays; its labels above all, since they are how gantry finds it.
func TestWhatIsThereStays(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"team": "ours", "runner-pod": "r"}}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "c-shm"}}
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "127.0.0.1", Hostnames: []string{"db"}}}
	c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: "/__w"}}}
	args := []string{"--label", "team=theirs", "--label", "runner-pod=x", "--label", "io.gantry/job=x", "--shm-size", "1g",
		"--tmpfs", "/__w", "--add-host", "cache:127.0.0.1", "--add-host", "db:127.0.0.1"}
	out, err := options.Apply(options.Request{Args: args, Job: true}, pod, c)
	if err != nil || len(out.Notes) != 3 {
		t.Errorf("%v, and notes %v; want three", err, out.Notes)
	}
	if diff := cmp.Diff(map[string]string{"team": "ours", "runner-pod": "r"}, pod.Labels); diff != "" {
		t.Error(diff)
	}
	wantMounts := []corev1.VolumeMount{{Name: "work", MountPath: "/__w"}, {Name: "c-shm-1", MountPath: "/dev/shm"}}
	if diff := cmp.Diff(wantMounts, c.VolumeMounts); diff != "" {
		t.Error(diff)
	}
	wantHosts := []corev1.HostAlias{{IP: "127.0.0.1", Hostnames: []string{"db", "cache"}}}
	if diff := cmp.Diff(wantHosts, pod.Spec.HostAliases); diff != "" {
		t.Error(diff)
	}
}

// FuzzApply: no options make Apply panic; without an error every volume that is mounted is there, and no value of a
// variable is in the pod or in a note.
func FuzzApply(f *testing.F) {
	for _, seed := range []string{
		`--cpus 1.5 -m 2g --shm-size 1g --tmpfs /x:size=1m -e A=s3cretvalue --gpus all --label a=b`,
		`--health-cmd "a b" --health-interval 1s --ulimit nofile=1:2 --add-host a:1.2.3.4 --security-opt seccomp=unconfined`,
		`--mount type=tmpfs,dst=/a --volume /b --device nvidia.com/gpu=all --sysctl a=b --dns 1.1.1.1 --user 0:0`,
	} {
		f.Add(seed, true, true)
		f.Add(seed, false, false)
	}
	f.Fuzz(func(t *testing.T, text string, job, ephemeral bool) {
		asked, err := createopts.Parse(text)
		if err != nil {
			return
		}
		r := options.Request{Args: append(asked.Args, "-e", "GANTRY_FUZZ=s3cretvalue"), Job: job,
			Limits: config.Limits{CPUs: "2", Memory: "1g", Pids: 5}}
		pod := &corev1.Pod{}
		if ephemeral {
			r.Target, pod = options.Ephemeral, nil
		}
		c := &corev1.Container{Name: "c"}
		out, err := options.Apply(r, pod, c)
		if err != nil {
			return
		}
		if !ephemeral {
			checkMounts(t, pod, c)
		}
		for _, n := range out.Notes {
			if strings.Contains(n.String(), "s3cretvalue") && !strings.Contains(text, "s3cretvalue") {
				t.Errorf("a note tells a variable: %s", n)
			}
		}
	})
}

func checkMounts(t *testing.T, pod *corev1.Pod, c *corev1.Container) {
	t.Helper()
	names := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		if names[v.Name] {
			t.Errorf("two volumes are called %s", v.Name)
		}
		names[v.Name] = true
	}
	paths := map[string]bool{}
	for _, m := range c.VolumeMounts {
		if !names[m.Name] || paths[m.MountPath] {
			t.Errorf("%s is mounted from %s: no such volume, or not the only one there", m.MountPath, m.Name)
		}
		paths[m.MountPath] = true
	}
}
