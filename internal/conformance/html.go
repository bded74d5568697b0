package conformance

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"strings"
)

//go:embed report.css
var css string

// WriteHTML writes a page that needs nothing beside itself.
func (r *Report) WriteHTML(w io.Writer) error {
	var b strings.Builder
	e := html.EscapeString
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n"+
		"<title>Conformance of %s</title>\n<style>\n%s</style>\n</head>\n<body>\n", e(r.Hook), css)
	verdict := "conforms"
	if !r.Conforms() {
		verdict = "does not conform"
	}
	fmt.Fprintf(&b, "<h1>Conformance of a container hook</h1>\n<p><code>%s</code> on %s <strong>%s</strong>. %s, %.0f s.</p>\n",
		e(r.Hook), e(r.Engine), verdict, r.Started.UTC().Format("2006-01-02 15:04 MST"), r.Took)
	r.htmlNumbers(&b)
	area := ""
	for _, result := range r.Results {
		if result.Case.Area != area {
			area = result.Case.Area
			fmt.Fprintf(&b, "<h2>%s</h2>\n", e(area))
		}
		htmlResult(&b, result)
	}
	b.WriteString("</body>\n</html>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) htmlNumbers(b *strings.Builder) {
	b.WriteString("<table>\n<tr><th></th>")
	for _, o := range outcomes() {
		fmt.Fprintf(b, "<th>%s</th>", o)
	}
	b.WriteString("</tr>\n")
	for _, l := range levels() {
		fmt.Fprintf(b, "<tr><th>%s</th>", l)
		for _, o := range outcomes() {
			fmt.Fprintf(b, "<td>%d</td>", r.count(l, o))
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table>\n")
}

func htmlResult(b *strings.Builder, r Result) {
	e := html.EscapeString
	open := ""
	if r.Outcome == Fail || r.Outcome == Error {
		open = " open"
	}
	fmt.Fprintf(b, "<details class=%q id=%q%s><summary><b>%s</b> <i>%s</i> %s</summary>\n", strings.ReplaceAll(string(r.Outcome), " ", "-"),
		e(r.Case.ID), open, r.Outcome, r.Case.Level, e(r.Case.Title))
	fmt.Fprintf(b, "<p><code>%s</code>, %.1f s. Rests on %s: %s</p>\n", e(r.Case.ID), r.Took.Seconds(), e(r.Case.RestsOn.Source), e(r.Case.RestsOn.Says))
	if r.Note != "" {
		fmt.Fprintf(b, "<p>%s</p>\n", e(r.Note))
	}
	for _, f := range r.Failures {
		fmt.Fprintf(b, "<dl><dt>%s: %s</dt><dd>expected: <samp>%s</samp></dd><dd>observed: <samp>%s</samp></dd></dl>\n",
			e(f.Call), e(f.What), e(f.Expected), e(f.Observed))
	}
	b.WriteString("</details>\n")
}
