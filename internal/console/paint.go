package console

import (
	"regexp"

	"github.com/gantry-ci/gantry/internal/jobevent"
)

// coloured are the sequences with which programs, and the runner, colour their output.
var coloured = regexp.MustCompile(`\x1b\[[0-9;:]*m`)

// painter puts colours around text, or none.
type painter struct{ on bool }

func (p painter) with(code, text string) string {
	if !p.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// foreign is text of somebody else, who may have coloured it.
func (p painter) foreign(text string) string {
	if p.on {
		return text
	}
	return coloured.ReplaceAllString(text, "")
}

func (p painter) bold(text string) string   { return p.with("1", text) }
func (p painter) red(text string) string    { return p.with("31", text) }
func (p painter) yellow(text string) string { return p.with("33", text) }
func (p painter) cyan(text string) string   { return p.with("36", text) }
func (p painter) gray(text string) string   { return p.with("90", text) }

// result paints text in the colour of a result.
func (p painter) result(r jobevent.Result, text string) string {
	switch r {
	case jobevent.Success:
		return p.with("32", text)
	case jobevent.Failure:
		return p.red(text)
	case jobevent.Cancelled:
		return p.yellow(text)
	}
	return p.gray(text)
}

// job paints the prefix of the job with that number, so that neighbours differ.
func (p painter) job(number int, text string) string {
	codes := []string{"36", "35", "34", "33", "32"}
	return p.with(codes[number%len(codes)], text)
}
