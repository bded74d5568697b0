package report

import (
	"regexp"
	"strconv"
	"time"
)

// tableReader finds the table in the log of a hook that says when each part of its work was, as gantry's does:
//
//	    at     took  what
//	0.03 s   0.13 s  network
//	         1.22 s  in all
//
// A hook tells nothing else about its parts: it is a process with output.
type tableReader struct {
	open bool
	rows []row
}

type row struct {
	name     string
	at, took time.Duration
}

var (
	tableHead = regexp.MustCompile(`^\s+at\s+took\s+what$`)
	tableRow  = regexp.MustCompile(`^\s+([0-9.]+) s\s+([0-9.]+) s\s+(\S.*)$`)
	tableFoot = regexp.MustCompile(`^\s+([0-9.]+) s\s+in all$`)
)

// line takes a line of the log, and gives the phases when it was the table's last. The table is printed when all of
// the work is done, so its end tells the begin.
func (r *tableReader) line(at time.Time, text string) []phase {
	if tableHead.MatchString(text) {
		r.open, r.rows = true, nil
		return nil
	}
	if !r.open {
		return nil
	}
	if m := tableRow.FindStringSubmatch(text); m != nil {
		r.rows = append(r.rows, row{m[3], seconds(m[1]), seconds(m[2])})
		return nil
	}
	r.open = false
	m := tableFoot.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	began := at.Add(-seconds(m[1]))
	var phases []phase
	for _, row := range r.rows {
		phases = append(phases, phase{row.name, began.Add(row.at), began.Add(row.at + row.took)})
	}
	return phases
}

func seconds(text string) time.Duration {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return time.Duration(number * float64(time.Second))
}
