// Package writers has small writers for what programs say.
package writers

import (
	"io"
	"sync"
)

// Tail keeps the last Max bytes of what is written to it. It may be used by one writer at a time, and read at any time.
type Tail struct {
	Max int

	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.Max; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// Locked lets several goroutines share a writer, a write at a time.
type Locked struct {
	mu sync.Mutex
	w  io.Writer
}

// NewLocked shares w.
func NewLocked(w io.Writer) *Locked { return &Locked{w: w} }

func (l *Locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
