package createopts

import "strings"

// word is one word of the options and where it stands in the text.
type word struct {
	text       string
	start, end int
	broken     bool // has a line break outside double quotes
}

// split cuts text into words exactly as hook.SplitCommandLine does, but remembers places. openQuote is the offset
// of a double quote that is never closed, or -1.
func split(text string) (words []word, openQuote int) {
	for i := 0; ; {
		for i < len(text) && isBlank(text[i]) {
			i++
		}
		if i == len(text) {
			return words, -1
		}
		w, open := nextWord(text, i)
		words = append(words, w)
		if open >= 0 {
			return words, open
		}
		i = w.end
	}
}

// nextWord reads the word that starts at start.
func nextWord(text string, start int) (w word, openQuote int) {
	var b strings.Builder
	i, open, broken := start, -1, false
	for i < len(text) && (open >= 0 || !isBlank(text[i])) {
		switch {
		case text[i] == '\\':
			i = backslashes(&b, text, i)
		case text[i] != '"':
			broken = broken || open < 0 && (text[i] == '\n' || text[i] == '\r')
			b.WriteByte(text[i])
			i++
		case open < 0:
			open = i
			i++
		case strings.HasPrefix(text[i:], `""`):
			b.WriteByte('"')
			i += 2
		default:
			open = -1
			i++
		}
	}
	return word{b.String(), start, i, broken}, open
}

// backslashes reads the run of backslashes at i: literal, unless a double quote follows. Then two make one, and an
// odd one makes the quote literal.
func backslashes(b *strings.Builder, text string, i int) int {
	n := len(text[i:]) - len(strings.TrimLeft(text[i:], `\`))
	i += n
	if i == len(text) || text[i] != '"' {
		b.WriteString(strings.Repeat(`\`, n))
		return i
	}
	b.WriteString(strings.Repeat(`\`, n/2))
	if n%2 == 1 {
		b.WriteByte('"')
		i++
	}
	return i
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
