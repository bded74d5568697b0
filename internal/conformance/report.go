package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// Report is the outcome of a run, for people and programs.
type Report struct {
	Hook    string    `json:"hook"`
	Engine  string    `json:"engine"`
	Started time.Time `json:"started"`
	Took    float64   `json:"seconds"`
	Results []Result  `json:"results"`
}

// Conforms: every case that must pass did, and the suite had no trouble of its own.
func (r *Report) Conforms() bool {
	return r.count("", Error) == 0 && r.must(Fail)+r.must(NotSupported) == 0
}

// Errors counts the suite's own troubles.
func (r *Report) Errors() int { return r.count("", Error) }

func (r *Report) must(o Outcome) int { return r.count(Must, o) }

// count counts results of a level ("": of all) with an outcome ("": with any).
func (r *Report) count(level Level, outcome Outcome) int {
	n := 0
	for _, result := range r.Results {
		if (level == "" || result.Case.Level == level) && (outcome == "" || result.Outcome == outcome) {
			n++
		}
	}
	return n
}

func outcomes() []Outcome { return []Outcome{Pass, Fail, NotSupported, Skipped, Error} }

func levels() []Level { return []Level{Must, Should, May} }

// Formats are the formats of a report, by name.
func Formats() map[string]func(*Report, io.Writer) error {
	return map[string]func(*Report, io.Writer) error{
		"text": (*Report).WriteText, "json": (*Report).WriteJSON, "junit": (*Report).WriteJUnit, "html": (*Report).WriteHTML,
	}
}

// WriteText writes what a person at a terminal wants to know: what failed and why, and the numbers.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	area := ""
	for _, result := range r.Results {
		if result.Case.Area != area {
			area = result.Case.Area
			fmt.Fprintf(&b, "\n%s\n", area)
		}
		writeResult(&b, result)
	}
	b.WriteString("\n" + r.table())
	_, err := io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}

func writeResult(b *strings.Builder, r Result) {
	fmt.Fprintf(b, "  %-13s  %-6s  %s  (%s, %.1f s)\n", r.Outcome, r.Case.Level, r.Case.Title, r.Case.ID, r.Took.Seconds())
	if r.Note != "" {
		fmt.Fprintf(b, "      %s\n", indent(r.Note))
	}
	for _, f := range r.Failures {
		fmt.Fprintf(b, "      %s: %s\n        expected: %s\n        observed: %s\n", f.Call, f.What, indent(f.Expected), indent(f.Observed))
	}
	if r.Outcome == Fail {
		fmt.Fprintf(b, "      rests on: %s (%s)\n", r.Case.RestsOn.Says, r.Case.RestsOn.Source)
	}
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n        ") }

// table is the numbers by level and outcome.
func (r *Report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s", "")
	for _, o := range outcomes() {
		fmt.Fprintf(&b, "%15s", o)
	}
	b.WriteString("\n")
	for _, l := range levels() {
		fmt.Fprintf(&b, "%-8s", l)
		for _, o := range outcomes() {
			fmt.Fprintf(&b, "%15d", r.count(l, o))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// WriteJSON writes everything, for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Time    string     `xml:"time,attr"`
	Failure *junitNote `xml:"failure,omitempty"`
	Error   *junitNote `xml:"error,omitempty"`
	Skipped *junitNote `xml:"skipped,omitempty"`
}

type junitNote struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes what CI systems show as tests. Only a case that must pass and does not is a failure there; others
// that do not pass count as skipped, with the reason.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{Name: "conformance of " + r.Hook + " on " + r.Engine, Tests: len(r.Results), Time: fmt.Sprintf("%.3f", r.Took)}
	for _, result := range r.Results {
		suite.add(result)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(junitSuites{Suites: []junitSuite{suite}}); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuite) add(r Result) {
	c := junitCase{Class: strings.ReplaceAll(r.Case.Area, " ", "_"), Name: r.Case.ID + ": " + r.Case.Title, Time: fmt.Sprintf("%.3f", r.Took.Seconds())}
	var text strings.Builder
	writeResult(&text, r)
	note := &junitNote{Message: fmt.Sprintf("%s (%s)", r.Outcome, r.Case.Level), Text: text.String()}
	switch {
	case r.Outcome == Pass:
	case r.Outcome == Error:
		c.Error = note
		s.Errors++
	case r.Case.Level == Must && r.Outcome != Skipped:
		c.Failure = note
		s.Failures++
	default:
		c.Skipped = note
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}
