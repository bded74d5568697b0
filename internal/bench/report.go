package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
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

// explanation stands above the table in the document.
const explanation = `# Speed and memory

%s

Made on %s by

    make bench BENCHFLAGS=--markdown

on %s, gantry %s. Times are milliseconds: the median, and in brackets the 10th and the 90th percentile. gantry and the
engine's own command were measured in turns, in one run. The targets are those for Docker on 2 cores.

`

const introduction = `What a hook call costs, beside the engine's own command for the same thing. A script step does not go
through the engine at all: it is one request to the agent in the job container, over a socket in the work folder.`

// notes say what exactly was measured.
const notes = `
* **script step**: the whole call as the runner makes it, ` + "`bash -e hook.sh`" + ` with the request on standard input and the
  response file written, for a step that runs ` + "`true`" + `; beside it ` + "`exec CONTAINER true`" + `.
* **memory of the hook**: the most that the process had resident (VmHWM) during a script step, or 1 GiB of output.
* **memory of the agent**: resident and idle, after the script steps: the container's first process, and the supervisor
  that waits for the next step. Pages of the program, which both share, count for both.
* **prepare_job**: a job container and three services without health checks, on a new network, images present; beside
  it one ` + "`run -d`" + ` on a network that was there, and ` + "`network create`" + ` with one ` + "`run -d`" + `.
* **cleanup_job**: of these four containers and their network.
* **container step**: an action's image that runs ` + "`true`" + ` on the job's network; beside it the same ` + "`run --rm`" + `.
* **1 GiB of output**: a step that writes zeros, read to the end; beside it the same by ` + "`exec`" + `.
* **64 steps at once**: script steps that run ` + "`true`" + `, until the last has ended; beside it 64 ` + "`exec`" + ` at once.
`

func (r *report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, explanation, introduction, r.date.Format(time.DateOnly), r.machine(), version())
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(headings())
	line(strings.Split(strings.Repeat("---,", len(headings())-1)+"---", ","))
	for _, row := range r.rows {
		line(row.cells())
	}
	b.WriteString(notes)
	return b.Bytes()
}

func version() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(out))
}
