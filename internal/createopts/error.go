package createopts

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is a mistake at one place of container.options. It is the workflow author's to mend.
type Error struct {
	Text           string // the whole options
	Offset, Length int    // the place, in bytes
	Problem        string // "unknown flag --hea-cmd"
	Hint           string // what to write in its place; may be ""
}

// Error says the problem in one line; Render shows the place too.
func (e *Error) Error() string { return e.Problem }

// Render says where the problem is, shows the line with a caret under the place, then the problem and the hint.
// where is what the workflow file calls the text: "container.options", "services.redis.options".
func (e *Error) Render(where string) string {
	text := fmt.Sprintf("configuration problem in %s:\n  %s\n%s\n", where, strings.ReplaceAll(e.Excerpt(), "\n", "\n  "), e.Problem)
	if e.Hint != "" {
		text += "hint: " + e.Hint + "\n"
	}
	return text
}

// Excerpt is the line of the place, and a line with a caret under it.
func (e *Error) Excerpt() string {
	line, before, marked := e.excerpt()
	return line + "\n" + strings.Repeat(" ", before) + strings.Repeat("^", marked)
}

// Columns shown of a long line: before the place, of the place, and after it.
const (
	leadColumns = 40
	markColumns = 60
	tailColumns = 30
)

// excerpt gives the line of the place, cut to a readable width, and the columns before and under the place.
func (e *Error) excerpt() (line string, before, marked int) {
	offset := min(max(e.Offset, 0), len(e.Text))
	end := min(max(offset, offset+e.Length), len(e.Text))
	from := strings.LastIndexByte(e.Text[:offset], '\n') + 1
	to := len(e.Text)
	if n := strings.IndexByte(e.Text[offset:], '\n'); n >= 0 {
		to = offset + n
	}
	end = min(end, to)
	lead := cutLeft(printable(e.Text[from:offset]))
	place := cutRight(printable(e.Text[offset:max(end, offset)]), markColumns)
	tail := cutRight(printable(e.Text[max(end, offset):to]), tailColumns)
	return strings.TrimRight(lead+place+tail, " "), utf8.RuneCountInString(lead), max(1, utf8.RuneCountInString(place))
}

func cutLeft(s string) string {
	runes := []rune(s)
	if len(runes) <= leadColumns {
		return s
	}
	return "…" + string(runes[len(runes)-leadColumns:])
}

func cutRight(s string, columns int) string {
	runes := []rune(s)
	if len(runes) <= columns {
		return s
	}
	return string(runes[:columns-1]) + "…"
}

// printable makes every character one column wide and harmless to a terminal and to the runner's log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError || (r >= 0x80 && r < 0xa0):
			return '?'
		}
		return r
	}, s)
}
