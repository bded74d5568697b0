// Package worksync keeps the runner's work folder and the one of a container on another machine in step.
//
// Both sides know what has changed on them (package tree). The host's side, a Session, asks the agent's side, a Server,
// what has changed there, and carries changes both ways, before and after every step. Only what differs travels:
// compressed where that saves time, with the hash of every file. Before a step the host's version of a file counts, after
// it the container's.
//
// A link that breaks at any byte costs what was on its way, large files excepted: they go on where they stopped.
//
// Standard library only: the step path links it.
package worksync

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Operation is the name of this protocol among the agent's.
const Operation = "sync"

// Messages are one byte of kind, a length and the payload, in blocks.
const (
	msgHello   byte = 'h' // container: welcome, the first message
	msgChanges byte = 'c' // host: what has changed since a number?
	msgEntries byte = 'e' // container: some of the changes
	msgUpto    byte = 'u' // container: the number of the last change, and notes
	msgAlive   byte = 'a' // both: still busy
	msgMake    byte = 'm' // host: make a folder or a link, or remove something
	msgPut     byte = 'p' // host: a file follows, in data and an end
	msgWhere   byte = 'w' // host: how much of a file is there already?
	msgGet     byte = 'g' // host: send a file
	msgFile    byte = 'f' // container: a file follows, in data and an end
	msgData    byte = 'd' // both: a part of a file
	msgEnd     byte = 'z' // both: the hash of a whole file
	msgDone    byte = 'r' // container: what became of a request
	msgAgain   byte = 'n' // host: tell of a path again
	msgPing    byte = 'i' // host: are you there?
	msgPong    byte = 'j' // container: yes
)

// dataSize is the largest payload of msgData, bound that of any message.
const (
	dataSize = 128 << 10
	msgBound = 1 << 20
)

// link is one connection: messages in blocks, both ways.
type link struct {
	conn   net.Conn
	raw    *bufio.Reader
	blocks *blockReader
	in     *bufio.Reader
	// instance is that of the welcome.
	instance string

	mu    sync.Mutex // for out
	out   *blockWriter
	wrote atomic.Int64 // bytes that conn has taken
}

func newLink(conn net.Conn, in *bufio.Reader) *link {
	blocks := newBlockReader(in)
	l := &link{conn: conn, raw: in, blocks: blocks, in: bufio.NewReaderSize(blocks, 64<<10)}
	l.out = newBlockWriter(counter{conn, &l.wrote})
	return l
}

// counter counts what is written.
type counter struct {
	io.Writer
	n *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func (l *link) close() { _ = l.conn.Close() }

// written is how many bytes the link has taken.
func (l *link) written() int64 {
	if l == nil {
		return 0
	}
	return l.wrote.Load()
}

// idle says that nothing more has arrived.
func (l *link) idle() bool {
	return l.in.Buffered() == 0 && len(l.blocks.left) == 0 && l.raw.Buffered() == 0
}

// send adds a message to those that the next flush sends, at the latest; many that take their time go earlier.
func (l *link) send(kind byte, payload ...[]byte) error {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = kind
	size := 1 + binary.PutUvarint(head[1:], uint64(n))
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.out.Write(head[:size])
	for _, p := range payload {
		if err == nil {
			_, err = l.out.Write(p)
		}
	}
	if err == nil {
		err = l.out.FlushLate()
	}
	return err
}

func (l *link) sendJSON(kind byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	return l.send(kind, text)
}

// expect gives the next message, which must be of a kind, in JSON.
func (l *link) expect(kind byte, v any) error {
	got, payload, err := l.receive(nil)
	if err != nil {
		return fmt.Errorf("reading from the agent: %w", err)
	}
	if got != kind {
		return fmt.Errorf("the agent sent a message of kind %q, not %q", got, kind)
	}
	if err := json.Unmarshal(payload, v); err != nil {
		return fmt.Errorf("decoding the agent's answer: %w", err)
	}
	return nil
}

func (l *link) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Flush()
}

// receive gives the next message. Its payload is good until the next call if buf is given.
func (l *link) receive(buf []byte) (kind byte, payload []byte, err error) {
	if kind, err = l.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(l.in)
	if err != nil {
		return 0, nil, unexpected(err)
	}
	if n > msgBound {
		return 0, nil, fmt.Errorf("a message %q of %d bytes is too long", kind, n)
	}
	payload = grown(buf, int(n))
	return kind, payload, full(l.in, payload)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Hello is what the host asks the agent for with the operation: what to look at.
type Hello struct {
	Root  string      `json:"root"`
	Rules []tree.Rule `json:"rules"`
	Watch bool        `json:"watch"`
	// Anew has all be looked at as if for the first time: the host does not know what both sides have in common.
	Anew bool `json:"anew,omitempty"`
	// First are folders of which notes are told before those of others: there may be too many.
	First []string `json:"first,omitempty"`
}

// welcome is the answer to a Hello.
type welcome struct {
	// Instance names the knowledge of the other side: another one has other numbers.
	Instance string `json:"instance"`
	Error    string `json:"error,omitempty"`
}

// upto ends the answer to msgChanges.
type upto struct {
	Upto    uint64      `json:"upto"`
	Notes   []tree.Note `json:"notes,omitempty"`
	Watched bool        `json:"watched"`
	Error   string      `json:"error,omitempty"`
}

// request is what msgMake, msgPut, msgWhere and msgGet have in common; not every field means something in each.
type request struct {
	id      uint64
	terms   tree.Terms
	mtime   int64
	offset  int64
	version string // tells one state of a file from another, see tree.Source
	change  tree.Change
}

func (r request) encode() []byte {
	force := byte(0)
	if r.terms.Force {
		force = 1
	}
	b := append(binary.AppendUvarint(nil, r.id), force)
	b = binary.AppendUvarint(b, r.terms.Since)
	b = binary.AppendVarint(b, r.mtime)
	b = binary.AppendUvarint(b, uint64(r.offset))
	b = append(binary.AppendUvarint(b, uint64(len(r.version))), r.version...)
	return r.change.Append(b)
}

func decodeRequest(payload []byte) (request, error) {
	r := tree.Reader{Data: payload}
	req := request{id: r.Uvarint(), terms: tree.Terms{Force: r.Byte() != 0, Since: r.Uvarint()}}
	req.mtime, req.offset, req.version = r.Varint(), int64(r.Uvarint()), r.String()
	req.change = r.Change()
	if r.Bad || req.offset < 0 {
		return req, errors.New("a request is cut off")
	}
	return req, req.change.Check()
}

// The results of a request.
const (
	doneWell    byte = 0
	doneNot     byte = 1 // it could not be done, and why
	doneGone    byte = 2 // there is nothing to do it with, any more
	doneChanged byte = 3 // tree.ErrChanged
	doneFull    byte = 4 // the disk is full
	doneCorrupt byte = 5 // tree.ErrCorrupt
)

// result is the done that tells of err.
func result(id uint64, err error) done {
	d := done{id: id, code: doneNot}
	switch {
	case err == nil:
		return done{id: id}
	case errors.Is(err, tree.ErrChanged):
		d.code = doneChanged
	case errors.Is(err, tree.ErrCorrupt):
		d.code = doneCorrupt
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		d.code = doneFull
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		d.code = doneGone
	}
	d.text = err.Error()
	return d
}

// done is the payload of msgDone. Offset answers msgWhere; haveIt: all of it.
type done struct {
	id     uint64
	code   byte
	offset int64
	text   string
}

const haveIt = -1

func (d done) encode() []byte {
	b := append(binary.AppendUvarint(nil, d.id), d.code)
	b = binary.AppendVarint(b, d.offset)
	return append(b, d.text...)
}

func decodeDone(payload []byte) (done, error) {
	r := tree.Reader{Data: payload}
	d := done{id: r.Uvarint(), code: r.Byte(), offset: r.Varint()}
	d.text = string(r.Data)
	if r.Bad {
		return d, errors.New("a result is cut off")
	}
	return d, nil
}

// ending is the payload of msgEnd: the file's hash, and whether it has changed all the time while it was read.
type ending struct {
	hash tree.Hash
	torn bool
}

func (e ending) encode() []byte {
	if e.torn {
		return append(e.hash[:len(e.hash):len(e.hash)], 1)
	}
	return append(e.hash[:len(e.hash):len(e.hash)], 0)
}

func decodeEnding(payload []byte) (e ending, err error) {
	if len(payload) != len(e.hash)+1 {
		return e, errors.New("the end of a file is cut off")
	}
	copy(e.hash[:], payload)
	e.torn = payload[len(e.hash)] != 0
	return e, nil
}
