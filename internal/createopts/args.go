package createopts

import "strings"

// ParseArgs is Parse for flags that are split already, such as those of the configuration. Places in errors are
// those of Quote's text.
func ParseArgs(args []string) (*Options, error) { return Parse(Quote(args)) }

// Quote writes words so that Parse splits them the same: each in double quotes, with the backslashes before a quote
// doubled.
func Quote(words []string) string {
	var b strings.Builder
	for i, word := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quote(word))
	}
	return b.String()
}

// quote leaves words alone that need none: errors then show them as they were.
func quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\r\n\"\\") {
		return word
	}
	var b strings.Builder
	b.WriteByte('"')
	backslashes := 0
	for i := range len(word) {
		switch word[i] {
		case '\\':
			backslashes++
		case '"':
			b.WriteString(strings.Repeat(`\`, backslashes+1))
			backslashes = 0
		default:
			backslashes = 0
		}
		b.WriteByte(word[i])
	}
	b.WriteString(strings.Repeat(`\`, backslashes) + `"`)
	return b.String()
}
