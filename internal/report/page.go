package report

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/console"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

// page writes HTML. Tags are written by raw, whatever comes from a run by text.
type page struct{ w *bufio.Writer }

func (p page) raw(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

func (p page) text(s string) { p.w.WriteString(clean(s)) }

// escapes are sequences with which programs colour their output and move the cursor.
var escapes = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])`)

// clean is text that says in HTML what s says.
func clean(s string) string {
	s = escapes.ReplaceAllString(strings.ToValidUTF8(s, "\uFFFD"), "")
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return html.EscapeString(s)
}

// Write writes the page of the run so far.
func (c *Collector) Write(w io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := page{bufio.NewWriter(w)}
	p.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>")
	p.text(c.name + ": " + string(c.result))
	p.raw("</title>\n<style>%s</style>\n</head>\n<body>\n", styles)
	p.head(c)
	for i, j := range c.jobs {
		p.job(i, j)
	}
	p.raw("<script>%s</script>\n</body>\n</html>\n", script)
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (p page) head(c *Collector) {
	p.raw("<header>\n<h1>")
	p.text(c.name)
	p.raw(" %s</h1>\n<p class=\"when\">%s · %s</p>\n", badge(c.result), c.began.Format("2006-01-02 15:04:05 MST"),
		console.Seconds(c.ended.Sub(c.began)))
	p.raw("<p class=\"tools\"><button data-open=\"all\">Open all logs</button> <button data-open=\"none\">Close all logs</button></p>\n")
	p.raw("<table class=\"jobs\"><thead><tr><th>Job</th><th>Result</th><th>Time</th><th>Steps failed</th></tr></thead>\n<tbody>\n")
	for i, j := range c.jobs {
		p.raw("<tr><td><a href=\"#job-%d\">", i)
		p.text(j.name)
		p.raw("</a></td><td>%s</td><td class=\"number\">%s</td><td>", badge(j.result), console.Seconds(j.took()))
		p.text(strings.Join(j.failed(), ", "))
		p.raw("</td></tr>\n")
	}
	p.raw("</tbody></table>\n</header>\n")
}

func (j *job) took() time.Duration { return j.ended.Sub(j.began) }

func (j *job) failed() []string {
	var names []string
	for _, s := range j.steps {
		if s.result == jobevent.Failure {
			names = append(names, s.name)
		}
	}
	return names
}

// badge is a result with its colour and a sign that does without.
func badge(r jobevent.Result) string {
	if r == "" {
		return ""
	}
	return fmt.Sprintf(`<span class="badge %s">%s</span>`, html.EscapeString(string(r)), html.EscapeString(string(r)))
}

func (p page) job(number int, j *job) {
	p.raw("<section class=\"job\" id=\"job-%d\">\n<h2>", number)
	p.text(j.name)
	p.raw(" %s <small>%s</small></h2>\n", badge(j.result), console.Seconds(j.took()))
	p.notes(j)
	if len(j.steps) > 0 {
		p.waterfall(j)
	}
	for _, s := range j.steps {
		p.summaries(s)
	}
	for _, s := range j.steps {
		p.step(s)
	}
	p.outputs(j)
	p.raw("</section>\n")
}

func (p page) notes(j *job) {
	if len(j.notes) == 0 {
		return
	}
	p.raw("<ul class=\"notes\">\n")
	for _, e := range j.notes {
		p.raw("<li class=\"%s\"><b>%s</b> ", html.EscapeString(e.Style), html.EscapeString(e.Style))
		p.text(console.Place(e) + e.Text)
		p.raw("</li>\n")
	}
	p.raw("</ul>\n")
}

func (p page) summaries(s *step) {
	for _, text := range s.summaries {
		p.raw("<div class=\"summary\"><h3>Summary of ")
		p.text(s.name)
		p.raw("</h3><pre>")
		p.text(strings.TrimRight(text, "\n"))
		p.raw("</pre></div>\n")
	}
}

func (p page) outputs(j *job) {
	if len(j.outputs) == 0 {
		return
	}
	p.raw("<details class=\"outputs\"><summary>Outputs</summary><dl>\n")
	for _, name := range slices.Sorted(maps.Keys(j.outputs)) {
		p.raw("<dt>")
		p.text(name)
		p.raw("</dt><dd>")
		p.text(j.outputs[name])
		p.raw("</dd>\n")
	}
	p.raw("</dl></details>\n")
}

// step writes a step's log, folded unless the step failed.
func (p page) step(s *step) {
	if len(s.lines) == 0 {
		return
	}
	open := ""
	if s.result == jobevent.Failure {
		open = " open"
	}
	p.raw("<details class=\"step\"%s><summary>", open)
	p.text(s.name)
	p.raw(" %s <small>%s</small></summary>\n<div class=\"log\">", badge(s.result), console.Seconds(s.ended.Sub(s.began)))
	p.lines(s.lines)
	if s.left > 0 {
		p.raw("<div class=\"line debug\">%d more lines are not on this page</div>", s.left)
	}
	p.raw("</div></details>\n")
}

// lines writes a log, with its groups as parts that can be folded.
func (p page) lines(all []line) {
	open := 0
	for _, l := range all {
		switch l.style {
		case "group":
			open++
			p.raw("<details class=\"group\" open><summary>")
			p.text(l.text)
			p.raw("</summary>")
		case "endgroup":
			if open > 0 {
				open--
				p.raw("</details>")
			}
		default:
			p.raw("<div class=\"line %s\">", html.EscapeString(l.style))
			p.text(l.text)
			p.raw("</div>")
		}
	}
	p.raw("%s", strings.Repeat("</details>", open))
}
