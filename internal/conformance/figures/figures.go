// Package figures puts what `gantry conform --format json` found on each engine into the tables of docs/conformance.md.
package figures

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// Report is what `gantry conform --format json` writes, as far as it counts here.
type Report struct {
	Seconds float64
	Results []Result
}

// Result is that of one case.
type Result struct {
	ID, Note string
	Level    conformance.Level
	Outcome  conformance.Outcome
	Failures []conformance.Failure
}

// Read reads a report. One without results is none.
func Read(text []byte) (*Report, error) {
	r := &Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("reading a report: %w", err)
	}
	if len(r.Results) == 0 {
		return nil, fmt.Errorf("reading a report: it has no results: %.200s", text)
	}
	return r, nil
}

// Bad are the cases that must or should pass, could be tried, and did not pass.
func (r *Report) Bad() []Result {
	return slices.DeleteFunc(slices.Clone(r.Results), func(c Result) bool {
		return c.Level == conformance.May || c.Outcome == conformance.Pass || c.Outcome == conformance.Skipped
	})
}

// Row is a row of a table: how many cases of each level passed, of those that could be tried, and what others lack.
func (r *Report) Row(engine string) string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %.0f s |\n", engine, r.passed(conformance.Must), r.passed(conformance.Should),
		r.passed(conformance.May), r.skipped(), r.Seconds)
}

func (r *Report) passed(level conformance.Level) string {
	passed, all := 0, 0
	for _, c := range r.Results {
		if c.Level == level && c.Outcome != conformance.Skipped {
			all++
			if c.Outcome == conformance.Pass {
				passed++
			}
		}
	}
	return fmt.Sprintf("%d of %d", passed, all)
}

// skipped says how many cases were skipped, and which needs were not met.
func (r *Report) skipped() string {
	count := 0
	var lacking []string
	for _, c := range r.Results {
		if c.Outcome != conformance.Skipped {
			continue
		}
		count++
		for need := range strings.SplitSeq(strings.TrimPrefix(c.Note, "it needs "), ", ") {
			if !slices.Contains(lacking, need) {
				lacking = append(lacking, need)
			}
		}
	}
	if count == 0 {
		return "0"
	}
	slices.Sort(lacking)
	return fmt.Sprintf("%d: %s", count, strings.Join(lacking, ", "))
}

// Write puts rows into the table of a page that stands between <!-- NAME --> and <!-- /NAME -->.
func Write(page, name string, rows []string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("reading the page of the table: %w", err)
	}
	place := regexp.MustCompile(`(?s)<!-- ` + name + ` -->\n.*?<!-- /` + name + ` -->`)
	if !place.Match(text) {
		return fmt.Errorf("%s has no place for the table %s", page, name)
	}
	table := "<!-- " + name + " -->\n| engine | must | should | may | skipped, and what they need | took |\n|---|---|---|---|---|---|\n" +
		strings.Join(rows, "") + "<!-- /" + name + " -->"
	if err := os.WriteFile(page, place.ReplaceAllLiteral(text, []byte(table)), 0o644); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}
