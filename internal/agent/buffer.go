package agent

import (
	"context"
	"sync"
)

// Bounds of a step's unacknowledged output.
const (
	bufferStart = 64 << 10
	bufferMax   = 1 << 20
)

// buffer is a step's output between the process and the client. It holds what the client has not acknowledged,
// at most bufferMax bytes; a writer waits while it is full. Offsets count from the step's first byte.
type buffer struct {
	mu     sync.Mutex
	cond   *sync.Cond
	ring   []byte
	acked  int64 // first byte that is kept
	end    int64 // behind the last byte
	closed bool
}

func newBuffer() *buffer {
	b := &buffer{ring: make([]byte, bufferStart)}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// Write appends p, and waits for acknowledgements as often as it needs room. It fails only after close.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	done := 0
	for done < len(p) {
		for !b.closed && b.end-b.acked == bufferMax {
			b.cond.Wait()
		}
		if b.closed {
			return done, errClosed
		}
		b.grow(len(p) - done)
		done += b.put(p[done:])
		b.cond.Broadcast()
	}
	return done, nil
}

// grow makes room for n more bytes, up to bufferMax.
func (b *buffer) grow(n int) {
	size := len(b.ring)
	used := int(b.end - b.acked)
	for size < bufferMax && size-used < n {
		size *= 2
	}
	if size == len(b.ring) {
		return
	}
	ring := make([]byte, size)
	for off := b.acked; off < b.end; {
		chunk := b.at(off)
		chunk = chunk[:min(int64(len(chunk)), b.end-off)]
		copyTo(ring, off, chunk)
		off += int64(len(chunk))
	}
	b.ring = ring
}

// put copies as much of p as fits.
func (b *buffer) put(p []byte) int {
	free := int64(len(b.ring)) - (b.end - b.acked)
	p = p[:min(int64(len(p)), free)]
	copyTo(b.ring, b.end, p)
	b.end += int64(len(p))
	return len(p)
}

// at is the ring from the place of offset off to its physical end.
func (b *buffer) at(off int64) []byte { return b.ring[off%int64(len(b.ring)):] }

func copyTo(ring []byte, off int64, p []byte) {
	n := copy(ring[off%int64(len(ring)):], p)
	copy(ring, p[n:])
}

// close ends the output: readers get what is left, writers an error.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.cond.Broadcast()
}

// ack forgets everything before off.
func (b *buffer) ack(off int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if off > b.acked && off <= b.end {
		b.acked = off
		b.cond.Broadcast()
	}
}

// holds says whether a reader can start at off.
func (b *buffer) holds(off int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return off >= b.acked && off <= b.end
}

// length is the number of bytes written so far.
func (b *buffer) length() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end
}

// next copies bytes from offset off into p. It waits for output; 0 bytes mean that the output has ended, or
// that ctx has (wake must be called when it does).
func (b *buffer) next(ctx context.Context, off int64, p []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for off == b.end && !b.closed && ctx.Err() == nil {
		b.cond.Wait()
	}
	if ctx.Err() != nil || off < b.acked {
		return 0
	}
	chunk := b.at(off)
	return copy(p, chunk[:min(int64(len(chunk)), b.end-off)])
}

// wake makes waiting readers look at their context again.
func (b *buffer) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cond.Broadcast()
}
