package console

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/gantry-ci/gantry/internal/jobevent"
)

// Summary prints what has come of the run: annotations, and one table with all jobs.
func (l *Log) Summary() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.annotations()
	rows := [][]string{{"", "JOB", "RESULT", "TIME", "STEPS FAILED"}}
	for _, j := range l.jobs {
		rows = append(rows, []string{mark(j.result), j.name, string(j.result), timeOf(j), strings.Join(j.failed, ", ")})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintln(l.w)
	for i, row := range rows {
		line := strings.TrimRight(columns(row, widths), " ")
		if i == 0 {
			line = l.paint.gray(line)
		} else {
			line = l.paint.result(l.jobs[i-1].result, line)
		}
		fmt.Fprintln(l.w, line)
	}
	fmt.Fprintf(l.w, "\n%s\n", l.paint.result(l.result, fmt.Sprintf("%s in %s", l.result, Seconds(l.took))))
}

func timeOf(j *job) string {
	if j.took == 0 {
		return ""
	}
	return Seconds(j.took)
}

// columns puts cells two blanks apart.
func columns(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
	}
	return b.String()
}

func (l *Log) annotations() {
	if len(l.notes) == 0 {
		return
	}
	fmt.Fprintf(l.w, "\n%s\n", l.paint.bold("Annotations"))
	for _, e := range l.notes {
		style := e.Style
		switch style {
		case "error":
			style = l.paint.red(style)
		case "warning":
			style = l.paint.yellow(style)
		}
		fmt.Fprintf(l.w, "  %s %s: %s\n", style, l.jobName(e.Job), Place(e)+strings.ReplaceAll(e.Text, "\n", "\n    "))
	}
}

func (l *Log) jobName(key string) string {
	if j := l.job(key); j != nil {
		return j.name
	}
	return key
}

// Place is where an annotation points, with what separates it from the text: "a.c:3: title: "; "" for nowhere.
func Place(e jobevent.Event) string {
	place := e.Props["file"]
	for _, name := range []string{"line", "col"} {
		if value := e.Props[name]; value != "" && place != "" {
			place += ":" + value
		}
	}
	if place != "" {
		place += ": "
	}
	if title := e.Props["title"]; title != "" {
		place += title + ": "
	}
	return place
}
