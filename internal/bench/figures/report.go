package figures

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one line of a table.
type Row struct {
	What   string
	Where  string // the engine, or the mode
	Gantry string // median and spread, with a unit in What
	Other  string // of what it is compared with
	Ratio  string
	Target string // "": none is set
	Met    bool
}

// Compared is a row of two series.
func Compared(what string, gantry, other Series, target string, met func(gantry, other time.Duration) bool) Row {
	row := Row{What: what, Gantry: gantry.String(), Target: target, Met: met(gantry.Median(), other.Median())}
	if len(other) > 0 {
		row.Other, row.Ratio = other.String(), fmt.Sprintf("%.2f", float64(gantry.Median())/float64(other.Median()))
	}
	return row
}

// Rates is a row of two series in which size bytes were carried, in MB/s.
func Rates(what string, size int64, gantry, other Series, atLeast float64) Row {
	rate := func(s Series) float64 { return float64(size) / s.Median().Seconds() / 1e6 }
	row := Row{What: what, Gantry: fmt.Sprintf("%.0f", rate(gantry)), Target: fmt.Sprintf("at least %.0f", atLeast), Met: rate(gantry) >= atLeast}
	if atLeast == 0 {
		row.Target = ""
	}
	if len(other) > 0 {
		row.Other, row.Ratio = fmt.Sprintf("%.0f", rate(other)), fmt.Sprintf("%.2f", rate(gantry)/rate(other))
	}
	return row
}

// AtMost is a row about memory; limit 0 sets no target.
func AtMost(what string, k, limit KiB) Row {
	row := Row{What: what, Gantry: k.String(), Met: k <= limit}
	if limit > 0 {
		row.Target = "at most " + limit.String()
	}
	return row
}

func (r Row) verdict() string {
	switch {
	case r.Target == "":
		return ""
	case r.Met:
		return "met"
	}
	return "MISSED"
}

func (r Row) cells() []string {
	return []string{r.What, r.Where, r.Gantry, r.Other, r.Ratio, r.Target, r.verdict()}
}

// Report is a table with what has to be known to read it.
type Report struct {
	Tools []string // what was measured with, with versions
	Rows  []Row
	// Where and Other are the headings of those columns.
	Where, Other string
}

func (r *Report) headings() []string {
	return []string{"what", r.Where, "gantry", r.Other, "ratio", "target", "verdict"}
}

// Print writes the table for people at a terminal.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\nms: median (p10-p90)\n\n", time.Now().Format(time.DateOnly), r.machine())
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(r.headings(), "\t"))
	for _, row := range r.Rows {
		fmt.Fprintln(table, strings.Join(row.cells(), "\t"))
	}
	table.Flush()
}

// Markdown is a paragraph about when and where, and the table.
func (r *Report) Markdown() string {
	return fmt.Sprintf("On %s by `make bench`, with %s.\nTimes are milliseconds: the median (10th-90th percentile). What stands "+
		"beside gantry was measured in the same run,\nin turns. The targets are for 2 cores.\n\n", time.Now().Format(time.DateOnly), r.machine()) + r.Table()
}

// Table is the table alone. The column Where is left out if all rows are of one.
func (r *Report) Table() string {
	var b strings.Builder
	line := func(cells []string) {
		if r.alike() {
			cells = append([]string{cells[0]}, cells[2:]...)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	names := r.headings()
	line(names)
	line(strings.Split(strings.Repeat("---,", len(names)-1)+"---", ","))
	for _, row := range r.Rows {
		line(row.cells())
	}
	return b.String()
}

func (r *Report) alike() bool {
	for _, row := range r.Rows {
		if row.Where != r.Rows[0].Where {
			return false
		}
	}
	return true
}

// Of is the part of a report that is about one engine or mode.
func (r *Report) Of(where string) *Report {
	part := *r
	part.Rows = nil
	for _, row := range r.Rows {
		if row.Where == where {
			part.Rows = append(part.Rows, row)
		}
	}
	return &part
}

// machine is where the figures come from.
func (r *Report) machine() string {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	average, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%d cores (%s), Linux %s, load %s at the end, %s, %s", runtime.NumCPU(), processor(),
		strings.TrimSpace(string(kernel)), average, runtime.Version(), strings.Join(r.Tools, ", "))
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Update replaces parts of a document: what stands between <!-- NAME --> and <!-- /NAME -->, by name.
func Update(file string, parts map[string]string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("updating the figures: %w", err)
	}
	for name, part := range parts {
		begin, end := []byte("<!-- "+name+" -->\n"), []byte("<!-- /"+name+" -->\n")
		before, rest, found := bytes.Cut(text, begin)
		_, after, ended := bytes.Cut(rest, end)
		if !found || !ended {
			return fmt.Errorf("updating the figures: %s has no place for %q", file, name)
		}
		text = bytes.Join([][]byte{before, begin, []byte(part), end, after}, nil)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("updating the figures: %w", err)
	}
	return nil
}
