package expr

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// format replaces {N} in its first argument by the text of argument N+1. Two braces stand for one. Arguments that
// the text does not name are not evaluated.
func format(e *evaluation, args []node) (Value, error) {
	template, err := e.eval(args[0])
	if err != nil {
		return nil, err
	}
	out := e.output()
	for rest := Text(template); rest != ""; {
		brace := strings.IndexAny(rest, "{}")
		if brace < 0 {
			out.write(rest)
			break
		}
		out.write(rest[:brace])
		if rest, err = e.formatBrace(out, rest[brace:], args[1:]); err != nil {
			return nil, err
		}
	}
	return out.result()
}

// formatBrace writes what the brace that text begins with stands for, and gives what comes after.
func (e *evaluation) formatBrace(out *output, text string, args []node) (string, error) {
	if len(text) > 1 && text[1] == text[0] {
		out.write(text[:1])
		return text[2:], nil
	}
	if text[0] == '}' {
		return "", errors.New("there is a } without {; write }} for the character")
	}
	number, rest, closed := strings.Cut(text[1:], "}")
	n, err := strconv.ParseUint(number, 10, 8)
	if !closed || err != nil {
		return "", errors.New("after { there must be a number and }; write {{ for the character")
	}
	if n >= uint64(len(args)) {
		return "", fmt.Errorf("{%d} is beyond the last of the %d values after the text", n, len(args))
	}
	v, err := e.eval(args[n])
	if err != nil {
		return "", err
	}
	out.write(Text(v))
	return rest, nil
}
