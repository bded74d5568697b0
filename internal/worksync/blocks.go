package worksync

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// What travels, travels in blocks: small files together, large ones in parts. A block is one byte that says whether it
// is compressed, its length on the way and, of a compressed one, its own length; each can be understood by itself.
const (
	blockPlain   byte = 0
	blockFlate   byte = 1
	blockSize         = 256 << 10
	worthFlate        = 512 // what is shorter is not worth a try
	blockBound        = blockSize + blockSize/8
	triedAnyway       = 4 << 20         // bytes of a connection that are compressed if only they get shorter
	longestPause      = 64              // blocks that are sent as they are before compression is tried again
	longestWait       = time.Second / 2 // what has been written waits for a full block
)

// blockWriter sends blocks. It compresses what gets shorter by it, unless the link has turned out to be faster than
// compressing is.
type blockWriter struct {
	w      io.Writer
	block  []byte
	since  time.Time // when the block was begun, at the earliest
	out    bytes.Buffer
	flate  *flate.Writer
	packed bytes.Buffer

	sent  int64 // bytes that have come in
	pause int   // blocks until compression is tried again
	skip  int   // the pause after the next try that fails
	link  rate  // what the connection takes
	work  rate  // what compressing takes
	now   func() time.Time
}

// rate is a mean of recent nanoseconds per byte; 0: not known.
type rate float64

func (r *rate) add(took time.Duration, n int) {
	if n < 16<<10 {
		return // too little to tell
	}
	if v := rate(float64(took) / float64(n)); *r == 0 {
		*r = v
	} else {
		*r = (*r*7 + v) / 8
	}
}

func newBlockWriter(w io.Writer) *blockWriter {
	return &blockWriter{w: w, block: make([]byte, 0, blockSize), now: time.Now, skip: 1}
}

func (b *blockWriter) Write(p []byte) (int, error) {
	n := len(p)
	if len(b.block) == 0 {
		b.since = b.now()
	}
	for len(p) > 0 {
		part := p[:min(len(p), blockSize-len(b.block))]
		b.block, p = append(b.block, part...), p[len(part):]
		if len(b.block) == blockSize {
			if err := b.Flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

// FlushLate sends what has waited for long: the other side takes silence for the end of the connection.
func (b *blockWriter) FlushLate() error {
	if len(b.block) == 0 || b.now().Sub(b.since) < longestWait {
		return nil
	}
	return b.Flush()
}

// Flush sends what has been written.
func (b *blockWriter) Flush() error {
	if len(b.block) == 0 {
		return nil
	}
	b.out.Reset()
	if !b.compress() {
		var head [1 + binary.MaxVarintLen32]byte
		head[0] = blockPlain
		n := 1 + binary.PutUvarint(head[1:], uint64(len(b.block)))
		b.out.Write(head[:n])
		b.out.Write(b.block)
	}
	b.sent += int64(len(b.block))
	b.block = b.block[:0]
	began, n := b.now(), b.out.Len()
	if _, err := b.w.Write(b.out.Bytes()); err != nil {
		return err
	}
	b.since = b.now()
	b.link.add(b.since.Sub(began), n)
	return nil
}

// compress puts a compressed block into out, or leaves it empty.
func (b *blockWriter) compress() bool {
	if b.pause > 0 {
		b.pause--
		return false
	}
	if len(b.block) < worthFlate || b.sent >= triedAnyway && b.link > 0 && b.link < b.work {
		return false
	}
	if b.flate == nil {
		b.flate, _ = flate.NewWriter(nil, flate.BestSpeed) // fails for unknown levels only
	}
	b.packed.Reset()
	began := b.now()
	b.flate.Reset(&b.packed)
	b.flate.Write(b.block) // into memory
	b.flate.Close()
	b.work.add(b.now().Sub(began), len(b.block))
	if b.packed.Len() > len(b.block)*9/10 {
		b.pause, b.skip = b.skip, min(2*b.skip, longestPause)
		return false
	}
	b.skip = 1
	var head [1 + 2*binary.MaxVarintLen32]byte
	head[0] = blockFlate
	n := 1 + binary.PutUvarint(head[1:], uint64(b.packed.Len()))
	n += binary.PutUvarint(head[n:], uint64(len(b.block)))
	b.out.Write(head[:n])
	b.out.Write(b.packed.Bytes())
	return true
}

// blockReader gives back what a blockWriter was given. It never holds more than a block, whatever is sent.
type blockReader struct {
	r interface {
		io.Reader
		io.ByteReader
	}
	packed, block []byte
	left          []byte // of block
	flate         io.ReadCloser
}

func newBlockReader(r interface {
	io.Reader
	io.ByteReader
}) *blockReader {
	return &blockReader{r: r}
}

func (b *blockReader) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

func (b *blockReader) next() error {
	kind, err := b.r.ReadByte()
	if err != nil {
		return err
	}
	length, err := b.length()
	if err != nil {
		return err
	}
	if kind == blockPlain {
		b.block = grown(b.block, length)
		b.left = b.block
		return full(b.r, b.block)
	}
	size, err := b.length()
	if err != nil {
		return err
	}
	if kind != blockFlate || size == 0 {
		return fmt.Errorf("a block of kind %d", kind)
	}
	b.packed, b.block = grown(b.packed, length), grown(b.block, size)
	if err := full(b.r, b.packed); err != nil {
		return err
	}
	return b.unpack()
}

func (b *blockReader) unpack() error {
	source := bytes.NewReader(b.packed)
	if b.flate == nil {
		b.flate = flate.NewReader(source)
	} else if err := b.flate.(flate.Resetter).Reset(source, nil); err != nil {
		return err
	}
	if _, err := io.ReadFull(b.flate, b.block); err != nil {
		return fmt.Errorf("unpacking a block: %w", err)
	}
	b.left = b.block
	return nil
}

func (b *blockReader) length() (int, error) {
	n, err := binary.ReadUvarint(b.r)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && n > blockBound {
		err = fmt.Errorf("a block of %d bytes", n)
	}
	return int(n), err
}

// full is io.ReadFull for what must come.
func full(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
