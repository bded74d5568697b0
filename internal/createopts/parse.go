package createopts

import (
	"fmt"
	"strconv"
	"strings"
)

// Options are create flags that were understood.
type Options struct {
	// Args are the words to hand to the engine, as written.
	Args []string
	// Flags are the same in order, one entry a flag: "-Pp 80:80" gives two.
	Flags []Flag
}

// Flag is one use of a create flag.
type Flag struct {
	Name    string // the long name without dashes, whatever the spelling: "volume" for -v, "network" for --net
	Value   string // of a boolean flag: "true" or "false"
	Written string // the flag as written, without its value: "-v", "--net"
	Pos     int    // offset of its word in the text
}

// labelPrefix is what gantry's own labels start with: they are how it finds what it made.
const labelPrefix = "io.gantry."

// Parse reads the text of container.options. The error, if any, is an *Error for the first mistake.
// Values are not judged: that is the engine's business. Line breaks at the end are ignored.
func Parse(text string) (*Options, error) {
	words, openQuote := split(strings.TrimRight(text, "\r\n"))
	if openQuote >= 0 {
		return nil, &Error{text, openQuote, 1, "this double quote is never closed", `to pass a quote itself, write \"`}
	}
	p := parser{text: text, words: words, index: newIndex()}
	for p.next < len(p.words) {
		if err := p.word(); err != nil {
			if err.Hint == "" {
				err.Hint = p.quoteHint()
			}
			return nil, err
		}
	}
	return &p.out, nil
}

type parser struct {
	text  string
	words []word
	next  int // the word to read
	index index
	out   Options
}

// word reads the next word, and the one after it if that is its value.
func (p *parser) word() *Error {
	w := p.words[p.next]
	if err := p.checkShape(w); err != nil {
		return err
	}
	p.next++
	p.out.Args = append(p.out.Args, w.text)
	if strings.HasPrefix(w.text, "--") {
		return p.long(w)
	}
	return p.shorts(w)
}

// checkShape refuses words that cannot be flags.
func (p *parser) checkShape(w word) *Error {
	switch {
	case w.broken:
		return p.brokenLine(w)
	case w.text == "--":
		return p.mistake(w, `"--" ends the flags, and nothing else belongs here`, "leave it out")
	case !strings.HasPrefix(w.text, "-") || w.text == "-":
		return p.mistake(w, fmt.Sprintf("%q is not a flag: image names and commands do not belong here", w.text),
			p.wrongDash(w.text))
	}
	return nil
}

// long reads "--name", "--name=value" or "--name value".
func (p *parser) long(w word) *Error {
	written, value, hasValue := strings.Cut(w.text, "=")
	spec, ok := p.index.long[written[2:]]
	if !ok {
		return p.unknown(w, written, p.index.suggest(written[2:]))
	}
	return p.flag(w, spec, written, value, hasValue)
}

// shorts reads "-x", "-xVALUE", "-x=VALUE", "-x VALUE" or several letters in one word.
func (p *parser) shorts(w word) *Error {
	for letters := w.text[1:]; letters != ""; {
		letter, rest := letters[:1], letters[1:]
		spec, ok := p.index.short[letter]
		if !ok {
			return p.unknown(w, "-"+firstRune(letters), p.wrongDash(w.text))
		}
		explicit := len(rest) > 1 && rest[0] == '=' // the engines take "-x=" for the value "="
		value := rest
		if explicit {
			value = rest[1:]
		}
		if spec.Kind != Bool || explicit {
			return p.flag(w, spec, "-"+letter, value, explicit || rest != "")
		}
		if err := p.flag(w, spec, "-"+letter, "", false); err != nil {
			return err
		}
		letters = rest
	}
	return nil
}

// flag records one flag, taking the next word as its value if it needs one and has none.
func (p *parser) flag(w word, spec Spec, written, value string, hasValue bool) *Error {
	if spec.Refused != "" {
		return p.mistakeAt(w, written, written+" does not belong here: "+spec.Refused, "leave it out")
	}
	switch {
	case spec.Kind == Bool:
		normal, err := p.boolean(w, written, value, hasValue)
		if err != nil {
			return err
		}
		value = normal
	case !hasValue && p.next == len(p.words):
		return p.mistakeAt(w, written, written+" needs a value", "")
	case !hasValue:
		v := p.words[p.next]
		if v.broken {
			return p.brokenLine(v)
		}
		p.next++
		p.out.Args = append(p.out.Args, v.text)
		value = v.text
	}
	if spec.Name == "label" && strings.HasPrefix(value, labelPrefix) {
		return p.mistake(w, "labels that start with "+labelPrefix+" are gantry's own", "choose another name for the label")
	}
	p.out.Flags = append(p.out.Flags, Flag{spec.Name, value, written, w.start})
	return nil
}

// boolean gives "true" or "false" for the spellings that the engines accept.
func (p *parser) boolean(w word, written, value string, hasValue bool) (string, *Error) {
	if !hasValue {
		return "true", nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return "", p.mistakeAt(w, written, fmt.Sprintf("%s is on or off: %q is neither true nor false", written, value), "")
	}
	return strconv.FormatBool(b), nil
}

func (p *parser) unknown(w word, written, hint string) *Error {
	if hint == "" {
		hint = "if your engine knows this flag, ask the runner's administrator to put it into create_args of gantry.yaml"
	}
	if q := p.quoteHint(); q != "" {
		hint = q
	}
	if !strings.HasPrefix(written, "--") {
		return p.mistake(w, "unknown flag "+written, hint)
	}
	return p.mistakeAt(w, written, "unknown flag "+written, hint)
}

// brokenLine reports an unquoted line break, which glues two words together.
func (p *parser) brokenLine(w word) *Error {
	return p.mistake(w, "a line break does not separate flags",
		`start the block with "options: >-" in place of "options: |"`)
}

// mistakeAt puts the place on the flag inside its word, if it stands there unquoted.
func (p *parser) mistakeAt(w word, written, problem, hint string) *Error {
	if strings.HasPrefix(p.text[w.start:w.end], written) {
		w.end = w.start + len(written)
	}
	return p.mistake(w, problem, hint)
}

func (p *parser) mistake(w word, problem, hint string) *Error {
	return &Error{p.text, w.start, w.end - w.start, problem, hint}
}

// quoteHint explains single quotes if a word up to the present one looks as if they were meant to group.
func (p *parser) quoteHint() string {
	for _, w := range p.words[:min(p.next+1, len(p.words))] {
		_, value, _ := strings.Cut(w.text, "=")
		if opensSingle(w.text) || opensSingle(value) {
			return `only double quotes group words here: write "…" in place of '…'`
		}
	}
	return ""
}

func opensSingle(s string) bool {
	return strings.HasPrefix(s, "'") && (len(s) == 1 || !strings.HasSuffix(s, "'"))
}

// wrongDash helps with "–-rm" typed by a word processor, "-name" and "name".
func (p *parser) wrongDash(text string) string {
	if strings.HasPrefix(text, "–") || strings.HasPrefix(text, "—") {
		return `this is a typographic dash: flags start with "-"`
	}
	name, _, _ := strings.Cut(strings.TrimLeft(text, "-"), "=")
	if _, ok := p.index.long[name]; ok {
		return "did you mean --" + name + "?"
	}
	return ""
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}
