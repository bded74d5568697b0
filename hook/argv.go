package hook

import (
	"fmt"
	"strings"
)

// Argv gives the arguments that the runner meant with the pieces of entryPointArgs.
//
// The runner holds one command line with quote characters in it, and sends what string.Split(' ') makes of it
// (ContainerHookManager.cs, HookInput.cs). Joined with blanks and split by SplitCommandLine it gives what the
// runner's own Docker mode would execute. What the runner dropped stays lost: runs of blanks inside an argument of
// a container step, tabs and line ends at the ends of pieces.
func Argv(pieces []string) []string {
	return SplitCommandLine(strings.Join(pieces, " "))
}

// SplitCommandLine splits a command line as .NET does on Unix (Process.Unix.cs, ParseArgumentsIntoList), and so as
// the runner's Docker mode does. It never fails:
//
//   - blanks and tabs outside quotes separate arguments; other white space does not;
//   - only " quotes; a ' is an ordinary character;
//   - before a ", two backslashes stand for one and an odd one makes the quote literal; other backslashes are literal;
//   - "" within quotes is one literal quote, and the quotes stay open;
//   - a quote that is never closed reaches to the end: see CheckCommandLine.
//
// The result is nil if there are no arguments.
func SplitCommandLine(line string) []string {
	var args []string
	s := splitter{line: line}
	for s.skipBlanks() {
		args = append(args, s.next())
	}
	return args
}

// CheckCommandLine returns an *UnbalancedQuoteError if a quote in line is never closed, as SplitCommandLine reads
// it, and nil otherwise.
func CheckCommandLine(line string) error {
	s := splitter{line: line}
	for s.skipBlanks() {
		s.next()
	}
	if s.quoted {
		return &UnbalancedQuoteError{Line: line, Offset: s.quotedAt}
	}
	return nil
}

// UnbalancedQuoteError says that the quote at byte Offset of Line has no closing partner.
type UnbalancedQuoteError struct {
	Line   string
	Offset int
}

func (e *UnbalancedQuoteError) Error() string {
	return fmt.Sprintf("the quote (\") at byte %d of the command line is never closed", e.Offset)
}

// splitter is a position in a command line. All characters with a meaning are ASCII, so it works on bytes.
type splitter struct {
	line     string
	pos      int
	quoted   bool
	quotedAt int // offset of the quote that set quoted last
}

// skipBlanks moves to the start of the next argument and reports whether there is one.
func (s *splitter) skipBlanks() bool {
	for s.pos < len(s.line) && isBlank(s.line[s.pos]) {
		s.pos++
	}
	return s.pos < len(s.line)
}

// next reads one argument. quoted stays set only if the line ends within quotes.
func (s *splitter) next() string {
	var arg strings.Builder
	for s.pos < len(s.line) {
		c := s.line[s.pos]
		switch {
		case c == '\\':
			s.backslashes(&arg)
		case c == '"':
			s.quote(&arg)
		case isBlank(c) && !s.quoted:
			return arg.String()
		default:
			arg.WriteByte(c)
			s.pos++
		}
	}
	return arg.String()
}

// backslashes reads a run of backslashes, and the quote after an odd number of them.
func (s *splitter) backslashes(arg *strings.Builder) {
	start := s.pos
	for s.pos < len(s.line) && s.line[s.pos] == '\\' {
		s.pos++
	}
	n := s.pos - start
	if s.pos == len(s.line) || s.line[s.pos] != '"' {
		arg.WriteString(s.line[start:s.pos])
		return
	}
	arg.WriteString(s.line[start : start+n/2])
	if n%2 == 1 {
		arg.WriteByte('"')
		s.pos++
	}
}

// quote reads an unescaped quote.
func (s *splitter) quote(arg *strings.Builder) {
	if s.quoted && strings.HasPrefix(s.line[s.pos:], `""`) {
		arg.WriteByte('"')
		s.pos += 2
		return
	}
	if !s.quoted {
		s.quotedAt = s.pos
	}
	s.quoted = !s.quoted
	s.pos++
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
