package expr

import (
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenNumber
	tokenString
	tokenSymbol // brackets, comma, dot, star and the operators: text says which
)

// token is a piece of an expression. at is its offset in the whole source; text is as written, except for a string,
// where it is the string's value.
type token struct {
	kind   tokenKind
	text   string
	number float64
	at     int
}

// scanner cuts source[at:end] into tokens.
type scanner struct {
	source  string
	at, end int
	last    token
}

// next gives the next token; after the last one, always tokenEnd.
func (s *scanner) next() (token, error) {
	t, err := s.scan()
	s.last = t
	return t, err
}

func (s *scanner) scan() (token, error) {
	rest := strings.TrimLeftFunc(s.source[s.at:s.end], unicode.IsSpace)
	s.at = s.end - len(rest)
	if rest == "" {
		return token{kind: tokenEnd, at: s.end}, nil
	}
	c := rest[0]
	switch {
	case c == '\'':
		return s.scanString(rest)
	case isNameStart(c):
		return s.take(tokenName, nameLength(rest)), nil
	case isDigit(c), c == '-', c == '+', c == '.' && s.dotBeginsNumber(rest):
		return s.scanNumber(rest)
	}
	return s.scanSymbol(rest)
}

// take makes a token of the next n bytes.
func (s *scanner) take(k tokenKind, n int) token {
	t := token{kind: k, text: s.source[s.at : s.at+n], at: s.at}
	s.at += n
	return t
}

// dotBeginsNumber tells the number in `.5 == x` from the dot in `a.b`, which comes after something that has members.
func (s *scanner) dotBeginsNumber(rest string) bool {
	if len(rest) < 2 || !isDigit(rest[1]) {
		return false
	}
	if s.last.kind == tokenSymbol {
		return !slices.Contains([]string{")", "]", "*"}, s.last.text)
	}
	return s.last.kind != tokenName
}

func (s *scanner) scanNumber(rest string) (token, error) {
	t := s.take(tokenNumber, boundary(rest))
	t.number = parseNumber(t.text)
	if math.IsNaN(t.number) {
		return t, errorAt(s.source, t.at, "%q is no number", t.text)
	}
	return t, nil
}

// scanString reads a string in single quotes. Two of them stand for one.
func (s *scanner) scanString(rest string) (token, error) {
	for i := 1; i < len(rest); i++ {
		if rest[i] != '\'' {
			continue
		}
		if i+1 < len(rest) && rest[i+1] == '\'' {
			i++
			continue
		}
		t := s.take(tokenString, i+1)
		t.text = strings.ReplaceAll(t.text[1:i], "''", "'")
		return t, nil
	}
	return token{}, errorAt(s.source, s.at, "the string that begins here has no closing quote (')")
}

func (s *scanner) scanSymbol(rest string) (token, error) {
	for _, symbol := range []string{"==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ",", ".", "*"} {
		if strings.HasPrefix(rest, symbol) {
			return s.take(tokenSymbol, len(symbol)), nil
		}
	}
	if rest[0] == '"' {
		return token{}, errorAt(s.source, s.at, `unexpected '"': strings are written in single quotes`)
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return token{}, errorAt(s.source, s.at, "unexpected %q", r)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameStart(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

// nameLength gives the length of the name that text begins with: letters, digits, _ and -.
func nameLength(text string) int {
	for i := range len(text) {
		if !isNameStart(text[i]) && !isDigit(text[i]) && text[i] != '-' {
			return i
		}
	}
	return len(text)
}

// boundary gives the length of text up to white space or a symbol. A dot and signs belong to a number.
func boundary(text string) int {
	i := strings.IndexFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune("()[],!<>=&|*'\"", r)
	})
	if i < 0 {
		return len(text)
	}
	return i
}
