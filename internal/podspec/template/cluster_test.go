package template_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/podspec/template"
	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// An API server takes the pods that the templates in testdata make: nothing is started, it only checks.
func TestKubernetesTakesThem(t *testing.T) {
	c := kubetest.Open(t)
	ns := c.Namespace(t)
	c.Create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "builder", Namespace: ns}})
	files, err := filepath.Glob("testdata/merge/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pod, own := planned(t)
		parsed, problems := template.Parse(file, archive.Files[0].Data)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		merged, _, problems := parsed.Apply(pod, own)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		merged.Namespace = ns
		if err := c.Request("POST", ns, merged).Param("dryRun", "All").Body(merged).Do(t.Context()).Error(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
