package conformance

import (
	"encoding/json"
	"encoding/xml"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
)

func testReport(outcomes ...Outcome) *Report {
	r := &Report{Hook: "/opt/<hook>.sh", Engine: "docker", Started: time.Unix(1700000000, 0), Took: 12}
	for _, o := range outcomes {
		c := &Case{ID: "a-case", Title: "A <title> & more", Level: Must, Area: "input", RestsOn: RestsOn{"A.cs", "it says <so>"}}
		result := Result{Case: c, Outcome: o, Took: time.Second}
		if o == Fail {
			result.Failures = []Failure{{Call: "1 prepare_job", What: "status", Expected: "is 0", Observed: "1\n<script>alert(1)</script>"}}
		}
		if o != Pass && o != Fail {
			result.Note = "the <reason>"
		}
		r.Results = append(r.Results, result)
	}
	return r
}

// Only what must be so counts, and the suite's own trouble never counts as a pass.
func TestConforms(t *testing.T) {
	level := func(l Level, o Outcome) *Report {
		r := testReport(Pass, o)
		r.Results[1].Case.Level = l
		return r
	}
	for _, c := range []struct {
		report *Report
		want   bool
	}{
		{level(Must, Pass), true},
		{level(Must, Skipped), true},
		{level(Must, Fail), false},
		{level(Must, NotSupported), false},
		{level(Should, Fail), true},
		{level(May, NotSupported), true},
		{level(Must, Error), false},
		{level(Should, Error), false},
		{level(May, Error), false},
	} {
		if got := c.report.Conforms(); got != c.want {
			t.Errorf("%s %s: %v", c.report.Results[1].Case.Level, c.report.Results[1].Outcome, got)
		}
	}
}

func written(t *testing.T, format string, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := Formats()[format](r, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextReport(t *testing.T) {
	text := written(t, "text", testReport(Pass, Fail, Skipped))
	for _, part := range []string{
		"fail           must    A <title> & more  (a-case, 1.0 s)", "expected: is 0", "observed: 1\n", "rests on: it says <so> (A.cs)", "the <reason>",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	if strings.Count(text, "rests on:") != 1 {
		t.Errorf("only failures say what they rest on:\n%s", text)
	}
}

func TestJSONReport(t *testing.T) {
	var got struct {
		Hook    string
		Results []struct {
			ID, Title, Level, Area, Outcome, Note string
			RestsOn                               RestsOn `json:"rests_on"`
			Seconds                               float64
			Failures                              []Failure
		}
	}
	if err := json.Unmarshal([]byte(written(t, "json", testReport(Fail, Error))), &got); err != nil {
		t.Fatal(err)
	}
	first := got.Results[0]
	if first.ID != "a-case" || first.Level != "must" || first.Outcome != "fail" || first.RestsOn.Source != "A.cs" || first.Seconds != 1 ||
		len(first.Failures) != 1 || got.Results[1].Note != "the <reason>" {
		t.Errorf("%+v", got)
	}
}

func TestJUnitReport(t *testing.T) {
	text := written(t, "junit", testReport(Pass, Fail, NotSupported, Skipped, Error))
	var got junitSuites
	if err := xml.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if s := got.Suites[0]; s.Tests != 5 || s.Failures != 2 || s.Skipped != 1 || s.Errors != 1 {
		t.Errorf("%+v", s)
	}
}

// The page needs nothing beside itself, and shows what a hook printed as text.
func TestHTMLReport(t *testing.T) {
	page := written(t, "html", testReport(Pass, Fail, Error))
	for _, outside := range []string{"<script", "src=", "@import", "url(", "<link", "http://", "https://"} {
		if strings.Contains(page, outside) {
			t.Errorf("the page has %s", outside)
		}
	}
	for _, part := range []string{"does not conform", "A &lt;title&gt; &amp; more", "alert(1)", `class="fail"`} {
		if !strings.Contains(page, part) {
			t.Errorf("no %q in\n%s", part, page)
		}
	}
}

// The page works in a real browser: what a hook printed runs no script and breaks no layout, failures are open, and the
// colours are those of light and dark.
func TestHTMLReportInABrowser(t *testing.T) {
	browser := testbed.Browser(t)
	r := testReport(Pass, Fail, NotSupported, Skipped, Error)
	r.Results[1].Failures[0].Observed = "</samp></details><img src=x onerror=\"document.title='broken'\">" + strings.Repeat("long", 2000)
	// Appended is a look at the page as it is laid out, for the test only.
	measure := `<script>
		const all = [...document.querySelectorAll('details')];
		document.documentElement.dataset.measured = JSON.stringify({
			cases: all.length, open: all.filter(d => d.open).map(d => d.className).join(), images: document.images.length,
			title: document.title, rows: document.querySelectorAll('table tr').length,
			wide: document.documentElement.scrollWidth > window.innerWidth, ink: getComputedStyle(document.body).color,
		});
	</script>`
	path := filepath.Join(t.TempDir(), "report.html")
	page := strings.Replace(written(t, "html", r), "</body>", measure+"</body>", 1)
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	for ink, flag := range map[string]string{
		"rgb(0, 0, 0)":       "--blink-settings=preferredColorScheme=1",
		"rgb(255, 255, 255)": "--blink-settings=preferredColorScheme=0",
	} {
		dom, complaints := testbed.Page(t, browser, path, flag, "--dump-dom")
		if complaints != "" {
			t.Errorf("the browser complains:\n%s", complaints)
		}
		measured := regexp.MustCompile(`data-measured="([^"]*)"`).FindStringSubmatch(dom)
		if measured == nil {
			t.Fatalf("scripts did not run to their end:\n%.2000s", dom)
		}
		got := html.UnescapeString(html.UnescapeString(measured[1]))
		for _, want := range []string{
			`"cases":5`, `"open":"fail,error"`, `"images":0`, `"title":"Conformance of /opt/<hook>.sh"`, `"rows":4`, `"wide":false`, `"ink":"` + ink + `"`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("want %s in %s", want, got)
			}
		}
	}
}

// A hook may say clearly that it does not do something. What fails otherwise is a failure.
func TestRefusals(t *testing.T) {
	for text, want := range map[string]bool{
		"Building container actions is not currently supported":   true,
		"error: volumes outside of the work folder not supported": true,
		"a port range is unsupported":                             true,
		"this hook does not support options":                      true,
		"cannot connect to the Docker daemon":                     false,
		"gantry: infrastructure: creating network: exit status 1": false,
		"": false,
	} {
		if got := refused(&observation{status: 1, stdout: plain("before\n" + text + "\nafter\n")}) != ""; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if refused(&observation{status: 0, stdout: plain("not supported")}) != "" {
		t.Error("a call that succeeded was taken for a refusal")
	}
}
