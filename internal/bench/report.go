package main

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

// row is one line of the table.
type row struct {
	what, engine  string
	gantry, other string // medians and spread, with a unit in what
	ratio         string
	target        string // "": none is set
	dockers       bool   // the target is Docker's alone
	met           bool
}

func (r row) verdict() string {
	switch {
	case r.target == "":
		return ""
	case r.met:
		return "met"
	}
	return "MISSED"
}

func (r row) cells() []string {
	return []string{r.what, r.engine, r.gantry, r.other, r.ratio, r.target, r.verdict()}
}

func headings() []string {
	return []string{"what", "engine", "gantry", "engine's own command", "ratio", "target", "verdict"}
}

// report is the table with what has to be known to read it.
type report struct {
	date    time.Time
	engines []string // with versions
	rows    []row
}

func newReport() *report { return &report{date: time.Now()} }

func (r *report) add(rows ...row) { r.rows = append(r.rows, rows...) }

// machine is where the figures come from.
func (r *report) machine() string {
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
		strings.TrimSpace(string(kernel)), average, runtime.Version(), strings.Join(r.engines, ", "))
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

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\nms: median (p10-p90)\n\n", r.date.Format(time.DateOnly), r.machine())
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(headings(), "\t"))
	for _, row := range r.rows {
		fmt.Fprintln(table, strings.Join(row.cells(), "\t"))
	}
	table.Flush()
}

// explanation stands above the tables in the document.
const explanation = `# Speed and memory

What a hook call costs, beside the engine's own command for the same thing. A script step does not go through the engine
at all: it is one request to the agent in the job container, over a socket in the work folder.

`

// notes say what exactly was measured.
const notes = `
* **script step**: the whole call as the runner makes it, ` + "`bash -e hook.sh`" + ` with the request on standard input and the
  response file written, for a step that runs ` + "`true`" + `; beside it ` + "`exec CONTAINER true`" + `.
* **memory of the hook**: the most that the process had resident (VmHWM) during a script step, or 1 GiB of output.
* **memory of the agent**: resident and idle, after the script steps: the container's first process, and the supervisor
  that waits for the next step. Pages of the program, which both share, count for both.
* **prepare_job**: a job container and three services without health checks, on a new network, images present; beside
  it one ` + "`run -d`" + ` on a network that was there, the same with its ` + "`network create`" + `, and a network with four containers
  started side by side, which is the least that the engine needs for such a job.
* **cleanup_job**: of these four containers and their network; beside it one ` + "`rm -f`" + ` of four containers, and ` + "`network rm`" + `.
* **container step**: an action's image that runs ` + "`true`" + ` on the job's network; beside it the same ` + "`run --rm`" + `.
* **1 GiB of output**: a step that writes zeros, read to the end; beside it the same by ` + "`exec`" + `.
* **64 steps at once**: script steps that run ` + "`true`" + `, until the last has ended; beside it 64 ` + "`exec`" + ` at once.
* **gantry run, to the first call of the hook**: from the start of the command to a hook that notes the time, for a job
  with a container and two steps.
`

// markdown is the document. What stands between the marks is also in README.md.
func (r *report) markdown() []byte {
	var b bytes.Buffer
	b.WriteString(explanation)
	fmt.Fprintf(&b, "<!-- performance -->\nOn %s by `make bench`, with %s.\nTimes are milliseconds: the median (10th-90th percentile). The engine's own "+
		"command was measured in the same run,\nin turns. The targets are for 2 cores.\n\n", r.date.Format(time.DateOnly), r.machine())
	r.table(&b, "docker")
	b.WriteString("<!-- /performance -->\n")
	b.WriteString(notes)
	b.WriteString("\n## Podman\n\nThe same, in the same run. There are no targets but for the script step.\n\n")
	r.table(&b, "podman")
	return b.Bytes()
}

// table writes the rows of one engine.
func (r *report) table(b *bytes.Buffer, engine string) {
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	names := headings()
	names[1] = ""
	line(without(names))
	line(strings.Split(strings.Repeat("---,", len(names)-2)+"---", ","))
	for _, row := range r.rows {
		if row.engine == engine {
			line(without(row.cells()))
		}
	}
}

// without leaves the engine's column out.
func without(cells []string) []string { return append([]string{cells[0]}, cells[2:]...) }
