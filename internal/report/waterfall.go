package report

import (
	"html"
	"slices"
	"time"

	"github.com/gantry-ci/gantry/internal/console"
)

// waterfall writes when each step and each of its phases was, from the begin of the job to its end.
func (p page) waterfall(j *job) {
	span := span{j.began, j.ended}
	p.raw("<div class=\"waterfall\" role=\"table\" aria-label=\"When each step was\">\n")
	for _, s := range j.steps {
		if s.number == 0 && len(s.phases) == 0 {
			continue
		}
		if s.number != 0 {
			p.bar("step "+string(s.result), s.name, s.began, s.ended, span)
		}
		phases := slices.SortedStableFunc(slices.Values(s.phases), func(a, b phase) int { return a.began.Compare(b.began) })
		for _, f := range phases {
			p.bar("phase", f.name, f.began, f.ended, span)
		}
	}
	p.raw("</div>\n")
}

// span is the time that a waterfall shows.
type span struct{ from, to time.Time }

// percent is where a moment is in the span.
func (s span) percent(at time.Time) float64 {
	whole := s.to.Sub(s.from)
	if whole <= 0 {
		return 0
	}
	return min(100, max(0, 100*float64(at.Sub(s.from))/float64(whole)))
}

// bar writes one row. However short something was, its bar can be seen.
func (p page) bar(class, name string, began, ended time.Time, s span) {
	left := min(s.percent(began), 99.5)
	width := max(s.percent(ended)-left, 0.5)
	took := console.Seconds(ended.Sub(began))
	p.raw("<div class=\"row %s\" role=\"row\"><span class=\"name\" role=\"rowheader\" title=\"%s\">", html.EscapeString(class), clean(name))
	p.text(name)
	p.raw("</span><span class=\"track\" role=\"cell\" title=\"from %s, %s\">", console.Seconds(began.Sub(s.from)), took)
	p.raw("<span class=\"bar\" style=\"left:%.2f%%;width:%.2f%%\"></span></span><span class=\"took\" role=\"cell\">%s</span></div>\n", left, width, took)
}
