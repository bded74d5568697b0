package report_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// The page works in a real browser, in light and dark: scripts run without complaint, bars have a width.
func TestPageInABrowser(t *testing.T) {
	browser := testbed.Browser(t)
	path := filepath.Join(t.TempDir(), "report.html")
	page := sample(t, "")
	// Appended is a look at the page as it is laid out, for the test only.
	measure := `<script>
		const bars = [...document.querySelectorAll('.bar')].map(b => b.getBoundingClientRect());
		const all = document.querySelector('button[data-open=all]'); all.click();
		const opened = document.querySelectorAll('details.step:not([open])').length === 0;
		document.documentElement.dataset.measured = JSON.stringify({
			bars: bars.length, thin: bars.filter(b => b.width < 2 || b.height < 2).length, opened,
			wide: document.documentElement.scrollWidth > window.innerWidth,
			ground: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
		});
	</script>`
	if err := os.WriteFile(path, []byte(strings.Replace(page, "</body>", measure+"</body>", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, flag, ground string }{
		{"light", "--blink-settings=preferredColorScheme=1", "rgb(255, 255, 255)"},
		{"dark", "--blink-settings=preferredColorScheme=0", "rgb(18, 22, 29)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dom, complaints := testbed.Page(t, browser, path, c.flag, "--dump-dom")
			if complaints != "" {
				t.Errorf("the browser complains:\n%s", complaints)
			}
			measured := regexp.MustCompile(`data-measured="([^"]*)"`).FindStringSubmatch(dom)
			if measured == nil || !strings.Contains(dom, `data-ready="4"`) {
				t.Fatalf("scripts did not run to their end:\n%.2000s", dom)
			}
			got := strings.ReplaceAll(measured[1], "&quot;", `"`)
			for _, want := range []string{`"bars":4`, `"thin":0`, `"opened":true`, `"wide":false`, `"ground":"` + c.ground + `"`} {
				if !strings.Contains(got, want) {
					t.Errorf("want %s in %s", want, got)
				}
			}
			picture := filepath.Join(t.TempDir(), "page.png")
			testbed.Page(t, browser, path, c.flag, "--screenshot="+picture)
			if info, err := os.Stat(picture); err != nil || info.Size() < 5000 {
				t.Errorf("no picture of the page: %v", err)
			}
		})
	}
}
