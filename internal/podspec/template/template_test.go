package template_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	kyaml "sigs.k8s.io/yaml"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/podspec/template"
)

var update = flag.Bool("update", false, "write testdata anew")

// planned is a pod as gantry plans it.
func planned(t testing.TB) (*corev1.Pod, template.Own) {
	t.Helper()
	text, err := os.ReadFile("testdata/planned.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := kyaml.UnmarshalStrict(text, pod); err != nil {
		t.Fatal(err)
	}
	return pod, template.Own{Job: "job", Services: []template.Service{
		{Container: "redis", Names: []string{"redis"}}, {Container: "postgres", Names: []string{"postgres", "db"}},
	}}
}

// Templates in testdata/merge give the pods beside them, those in testdata/bad the problems.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := txtar.Format(archive)
			archive.Files = append(archive.Files[:1], outcome(t, archive.Files[0].Data)...)
			got := txtar.Format(archive)
			if strings.Contains(file, "/bad/") != strings.Contains(string(got), "-- problems --") {
				t.Errorf("wrong folder for this outcome:\n%s", got)
			}
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// outcome is what becomes of a template.
func outcome(t *testing.T, text []byte) []txtar.File {
	t.Helper()
	pod, own := planned(t)
	before := pod.DeepCopy()
	parsed, problems := template.Parse("template.yaml", text)
	if len(problems) > 0 {
		return []txtar.File{{Name: "problems", Data: []byte(problems.Error() + "\n")}}
	}
	result, notes, problems := parsed.Apply(pod, own)
	if diff := cmp.Diff(before, pod); diff != "" {
		t.Errorf("the planned pod was changed: %s", diff)
	}
	if len(problems) > 0 {
		return []txtar.File{{Name: "problems", Data: []byte(problems.Error() + "\n")}}
	}
	written, err := kyaml.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	files := []txtar.File{{Name: "pod.yaml", Data: written}}
	if len(notes) > 0 {
		files = append(files, txtar.File{Name: "notes", Data: []byte(strings.Join(notes, "\n") + "\n")})
	}
	if needs := parsed.NeedsOwnPod(); len(needs) > 0 {
		files = append(files, txtar.File{Name: "needs a pod of its own for", Data: []byte(strings.Join(needs, "\n") + "\n")})
	}
	return files
}

// Every problem has a place, and a next step or a text that leaves only one.
func TestProblemsHavePlaces(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, problems := template.Parse("template.yaml", archive.Files[0].Data)
		if len(problems) == 0 {
			pod, own := planned(t)
			_, _, problems = parsed.Apply(pod, own)
		}
		for _, p := range problems {
			if p.Place.File != "template.yaml" || p.Place.Line == 0 || p.Place.Col == 0 || p.Text == "" {
				t.Errorf("%s: %+v", file, p)
			}
		}
	}
}

// A template in gantry.yaml tells the lines of that file, one in a variable the variable.
func TestFromNode(t *testing.T) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte("kubernetes:\n  template:\n    spec:\n      nodeNam: x\n"), &document); err != nil {
		t.Fatal(err)
	}
	node := document.Content[0].Content[1].Content[1]
	for want, place := range map[string]config.Place{
		"gantry.yaml:4:7":               {File: "gantry.yaml", Line: 3, Col: 5},
		"environment variable GANTRY_X": {Env: "GANTRY_X"},
	} {
		_, problems := template.FromNode(place, node)
		if len(problems) != 1 || problems[0].Place.String() != want || problems[0].Hint != "did you mean nodeName?" {
			t.Errorf("%+v: %v", place, problems)
		}
	}
}

func parse(t *testing.T, text string) *template.Template {
	t.Helper()
	parsed, problems := template.Parse("template.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return parsed
}

func TestEphemeral(t *testing.T) {
	parsed := parse(t, `
spec:
  containers:
  - name: $services
    imagePullPolicy: Always
  - name: $job
    image: x
    env: [{name: A, value: b}]
    resources: {limits: {cpu: 1}}
    ports: [{containerPort: 80}]
    securityContext: {runAsUser: 5}
    volumeMounts:
    - {name: cache, mountPath: /cache}
    - {name: cache, mountPath: /npm, subPath: npm}
    - {name: other, mountPath: /other}
  - name: $redis
    command: [redis-server]
    args: [--save, ""]
    workingDir: /data
`)
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "cache"}, {Name: "work"}}}}
	job := &corev1.Container{Name: "gantry-1-job", Image: "node:22", VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: "/__w"}}}
	notes, problems := parsed.ApplyEphemeral(pod, job, template.JobName)
	if len(problems) > 0 || len(notes) != 5 {
		t.Errorf("problems %v, notes %q: five things are lost", problems, notes)
	}
	want := &corev1.Container{Name: "gantry-1-job", Image: "node:22", Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
		SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(5))},
		VolumeMounts:    []corev1.VolumeMount{{Name: "work", MountPath: "/__w"}, {Name: "cache", MountPath: "/cache"}}}
	if diff := cmp.Diff(want, job); diff != "" {
		t.Error(diff)
	}
	redis := &corev1.Container{Name: "gantry-1-svc-0", Image: "redis:7", Command: []string{"agent"}}
	if notes, problems := parsed.ApplyEphemeral(pod, redis, "redis", "cache"); len(notes) != 2 || len(problems) > 0 {
		t.Error(notes, problems)
	}
	if redis.ImagePullPolicy != corev1.PullAlways || !slices.Equal(redis.Command, []string{"agent"}) || redis.WorkingDir != "/data" {
		t.Errorf("%+v", redis)
	}
}

func TestNeedsOwnPod(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil,
		"spec: {restartPolicy: Never, containers: [{name: $job, env: [{name: A, value: b}]}], initContainers: [{name: fs-init}]}": nil,
		"metadata: {annotations: {a: b}}": {"metadata.annotations"},
		"spec: {nodeSelector: {a: b}, containers: [{name: $job, resources: {}}, {name: side, image: x}]}": {
			"spec.nodeSelector", "resources of container $job", "container side"},
	} {
		if diff := cmp.Diff(want, parse(t, text).NeedsOwnPod()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	var none *template.Template
	if none.NeedsOwnPod() != nil {
		t.Error("no template needs a pod")
	}
}

// The same template changes nothing any more when it is applied to its own result by key, and every container of the
// planned pod is still there with its image: what is added twice would be a conflict, so only $ entries are tried.
func TestAppliedTwice(t *testing.T) {
	parsed := parse(t, `
spec:
  tolerations: [{key: a}]
  imagePullSecrets: [{name: x}]
  hostAliases: [{ip: 127.0.0.1, hostnames: [a]}]
  containers:
  - name: $job
    env: [{name: A, value: b}]
    ports: [{containerPort: 5}]
`)
	pod, own := planned(t)
	once, _, problems := parsed.Apply(pod, own)
	twice, _, again := parsed.Apply(once, own)
	if len(problems)+len(again) > 0 {
		t.Fatal(problems, again)
	}
	if diff := cmp.Diff(once, twice); diff != "" {
		t.Error(diff)
	}
}

// FuzzTemplate: no text makes parsing or merging panic; problems have places; and whatever was merged, gantry's own
// containers, volumes and labels are as planned.
func FuzzTemplate(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.txtar")
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	pod, own := planned(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, problems := template.Parse("t.yaml", text)
		for _, p := range problems {
			if p.Place.Line == 0 || p.Text == "" {
				t.Errorf("%q: a problem without place: %+v", text, p)
			}
		}
		if len(problems) > 0 {
			return
		}
		parsed.NeedsOwnPod()
		parsed.ApplyEphemeral(pod, &corev1.Container{Name: "c"}, template.JobName)
		result, _, problems := parsed.Apply(pod, own)
		if len(problems) == 0 {
			survives(t, pod, result)
		}
	})
}

// survives checks what a template must not change.
func survives(t *testing.T, pod, result *corev1.Pod) {
	t.Helper()
	for key, value := range pod.Labels {
		if result.Labels[key] != value {
			t.Errorf("label %s is %q", key, result.Labels[key])
		}
	}
	for _, v := range pod.Spec.Volumes {
		if !slices.ContainsFunc(result.Spec.Volumes, func(other corev1.Volume) bool { return cmp.Equal(v, other) }) {
			t.Errorf("volume %s is not there as planned", v.Name)
		}
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers[:1]) {
		i := slices.IndexFunc(slices.Concat(result.Spec.Containers, result.Spec.InitContainers), func(other corev1.Container) bool {
			return c.Name == other.Name && c.Image == other.Image && slices.Equal(c.Command, other.Command) &&
				slices.Equal(c.Args, other.Args) && len(other.VolumeMounts) >= len(c.VolumeMounts)
		})
		if i < 0 {
			t.Errorf("container %s is not there as planned", c.Name)
		}
	}
}
