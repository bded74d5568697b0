package worksync

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// What is written in blocks is read again, however it is cut into writes.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte("short"), uint16(1), uint8(0))
	f.Add([]byte(strings.Repeat("a line of a log\n", 5000)), uint16(1000), uint8(3))
	f.Add([]byte{}, uint16(7), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, part uint16, flushEvery uint8) {
		var carried bytes.Buffer
		w := newBlockWriter(&carried)
		for i, rest := 0, data; len(rest) > 0; i++ {
			n := min(len(rest), int(part)+1)
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; flushEvery > 0 && i%int(flushEvery) == 0 {
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(newBlockReader(bufio.NewReader(&carried)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came of %d: %v", len(got), len(data), err)
		}
	})
}

// Whatever is sent as blocks, a reader holds no more than one block of it.
func FuzzForeignBlocks(f *testing.F) {
	f.Add([]byte{blockPlain, 3, 'a', 'b', 'c'})
	f.Add([]byte{blockFlate, 3, 0xff, 0xff, 0x0f, 1, 2, 3})
	f.Add([]byte{2, 1, 1})
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := newBlockReader(bufio.NewReader(bytes.NewReader(sent)))
		if _, err := io.Copy(io.Discard, r); err == nil && len(sent) == 1 {
			t.Error("half a block is one")
		}
		if held := max(cap(r.block), cap(r.packed)); held > blockBound {
			t.Errorf("%d bytes are held", held)
		}
	})
}

// Text takes a fraction on the way, and what cannot be compressed hardly more than its size.
func TestWhatTravelsIsCompressed(t *testing.T) {
	random := make([]byte, 1<<20)
	seed := uint32(1)
	for i := range random {
		seed = seed*1664525 + 1013904223
		random[i] = byte(seed >> 24)
	}
	for what, c := range map[string]struct {
		data []byte
		most int
	}{"text": {[]byte(strings.Repeat("a line of a log\n", 1<<16)), 1 << 16}, "noise": {random, len(random) + len(random)/1000}} {
		var carried bytes.Buffer
		w := newBlockWriter(&carried)
		if _, err := w.Write(c.data); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if carried.Len() > c.most {
			t.Errorf("%s: %d bytes travel as %d", what, len(c.data), carried.Len())
		}
	}
}

// Many small messages that take their time are sent before a block of them is full: silence ends connections.
func TestNothingWaitsForLong(t *testing.T) {
	var carried bytes.Buffer
	w := newBlockWriter(&carried)
	clock := time.Now()
	w.now = func() time.Time { return clock }
	for i := range 100 {
		if _, err := w.Write([]byte("done")); err != nil {
			t.Fatal(err)
		}
		if err := w.FlushLate(); err != nil {
			t.Fatal(err)
		}
		if got, want := carried.Len() > 0, i >= 50; got != want {
			t.Fatalf("after %d messages in %v something has been sent: %v", i, time.Duration(i)*10*time.Millisecond, got)
		}
		clock = clock.Add(longestWait / 50)
	}
}
