// Package printable makes what a container says harmless in a log.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longest is how many bytes of a text are kept.
const longest = 300

// Text makes a path or a text of a container's harmless in a log: it is one line of bounded length, without what a terminal
// would obey.
func Text(text string) string {
	cut, end := "", longest
	if len(text) > longest {
		for end > longest-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text, cut = text[:end], "…"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(text) {
		text = strconv.Quote(text)
	}
	return text + cut
}
