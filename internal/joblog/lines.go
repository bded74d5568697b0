package joblog

import "bytes"

// Lines is a writer that hands on whole lines without their ends: "\n", "\r\n" or a lone "\r", as .NET's ReadLine
// splits. Close hands on what has no end. It is not safe for several goroutines.
type Lines struct {
	// Line is called for every line.
	Line func(line string)
	rest []byte
	cr   bool // the last byte was "\r": a "\n" now belongs to it
}

// Write never fails.
func (l *Lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.cr && p[0] == '\n' {
			p = p[1:]
		}
		l.cr = false
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			l.rest = append(l.rest, p...)
			break
		}
		l.emit(p[:i])
		l.cr = p[i] == '\r'
		p = p[i+1:]
	}
	return n, nil
}

// Close hands on the last line, if it has no end.
func (l *Lines) Close() error {
	if len(l.rest) > 0 {
		l.emit(nil)
	}
	return nil
}

func (l *Lines) emit(p []byte) {
	l.Line(string(append(l.rest, p...)))
	l.rest = l.rest[:0]
}
