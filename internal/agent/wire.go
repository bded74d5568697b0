// Package agent runs the steps of a job inside the job container, and is the client that asks for them.
//
// The server is the container's first process. It reaps zombies, and starts every step under a supervisor of
// its own, so that a step's whole process tree can be ended whatever its processes did to escape. The client
// speaks to it over a stream (a unix socket in the runner's work folder) that may break at any byte: output is
// numbered by offset and kept until acknowledged, and a step has ended only when its exit record has arrived.
//
// Standard library only: both sides are on the step path.
package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"
)

// protocol is the version of the messages; both sides refuse another one.
const protocol = 1

// Frames are one byte of kind, four bytes of length (big endian) and the payload.
const (
	frameRequest byte = 'q' // client: a request, the first frame of a connection
	frameHello   byte = 'h' // server: a Hello, or the list of FileIDs
	frameError   byte = 'e' // server: a refusal; the connection ends
	frameOutput  byte = 'o' // server: bytes of the step's output, following those before
	frameExit    byte = 'x' // server: an Exit; all output has been sent
	frameAck     byte = 'k' // client: 8 bytes, offset up to which output is safe
	frameSignal  byte = 'g' // client: a cancelRequest
	frameBye     byte = 'b' // client: the exit record has arrived, forget the step
	framePing    byte = 'i' // client: are you there?
	framePong    byte = 'j' // server: yes; also the first answer to a start or attach, as the step is known now
	frameStart   byte = 's' // agent to supervisor: a startRequest
	frameTaken   byte = 'p' // supervisor to agent: the step is mine; nobody else may start it
	frameStarted byte = 'r' // supervisor to agent, if asked: it runs
)

// maxFrame bounds a payload: a request carries a step's environment, which the kernel bounds lower.
const maxFrame = 64 << 20

// outputChunk is the largest payload of an output frame.
const outputChunk = 64 << 10

type request struct {
	Protocol int    `json:"protocol"`
	Op       string `json:"op"`
	Token    string `json:"token"`
	Step     *Step  `json:"step,omitempty"`   // start
	ID       string `json:"id,omitempty"`     // attach
	Offset   int64  `json:"offset,omitempty"` // attach: bytes of output that have arrived

	Paths []string `json:"paths,omitempty"` // files

	Env map[string]string `json:"env,omitempty"` // claim: the container's environment, beside what it has

	// Body is what a Service makes of it.
	Body json.RawMessage `json:"body,omitempty"`

	// Heartbeat is how often the client will send a ping; 0: never, and silence means nothing.
	Heartbeat time.Duration `json:"heartbeat,omitempty"`
}

// The operations of a request.
const (
	opClaim  = "claim"  // the first one sets the token
	opHello  = "hello"  // who are you
	opStart  = "start"  // run a step; with the ID of a known step like attach
	opAttach = "attach" // go on with a step
	opMain   = "main"   // start the container's own program
	opFiles  = "files"  // what lies at these paths of the container
	opEnd    = "end"    // nobody will come back for a step
)

// Hello is what an agent says of itself and its container.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	UID      int    `json:"uid"` // as seen in the container
	GID      int    `json:"gid"`
	Alpine   bool   `json:"alpine"` // ID=alpine in os-release
	// Undone is what its command line asked for and could not be made.
	Undone []Undone `json:"undone,omitempty"`
}

// FileID tells a file from every other one of the machine, from inside a container as from outside. It is zero for
// what does not exist.
type FileID struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// IDOf is the FileID of what info describes.
func IDOf(info fs.FileInfo) FileID {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return FileID{}
	}
	return FileID{Dev: uint64(st.Dev), Ino: uint64(st.Ino)}
}

// Step is a process to run.
type Step struct {
	// ID is chosen by the client; starting the same ID twice attaches to the first.
	ID string `json:"id"`
	// Argv is program and arguments; a program without slash is looked up in the step's PATH.
	Argv []string `json:"argv"`
	// Env is added to the container's own environment. PATH in the step is PrependPath followed by the
	// container's PATH; without PrependPath it is Env's PATH, if there is one.
	Env         map[string]string `json:"env"`
	PrependPath []string          `json:"prependPath,omitempty"`
	// Dir is the working directory; "" is the container's.
	Dir string `json:"dir,omitempty"`
	// OrphanGrace is how long the step goes on without a client before it is ended.
	OrphanGrace time.Duration `json:"orphanGrace"`
	// CancelGrace is the time from the first signal to the kill of everything that is left.
	CancelGrace time.Duration `json:"cancelGrace"`
}

// Exit is the proof that a step has ended.
type Exit struct {
	// Code is the exit status: of the process, or 128 plus the signal that ended it; 126 and 127 as a shell
	// would when the process could not be started.
	Code   int `json:"code"`
	Signal int `json:"signal,omitempty"`
	// Error says why the process could not be started or followed; "" otherwise.
	Error string `json:"error,omitempty"`
	// TooLong says that arguments and environment are more than the kernel takes (E2BIG).
	TooLong bool `json:"tooLong,omitempty"`
	// OOM says that the kernel killed a process of the container for memory while the step ran.
	OOM bool `json:"oom,omitempty"`
	// Output is the length of the step's output in bytes.
	Output int64 `json:"output"`
	// Survivors are processes of a cancelled step that could not be killed (of another user), by pid.
	Survivors []int `json:"survivors,omitempty"`
}

// cancelRequest asks for a signal to the step's whole tree.
type cancelRequest struct {
	Signal int `json:"signal"`
}

// refusal is the payload of an error frame.
type refusal struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// The kinds of a refusal.
const (
	refusedToken    = "token"
	refusedUnknown  = "unknown step"
	refusedProtocol = "protocol"
	refusedOffset   = "offset"
)

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	buf := make([]byte, 5, 5+len(payload))
	buf[0] = kind
	binary.BigEndian.PutUint32(buf[1:], uint32(len(payload)))
	_, err := w.Write(append(buf, payload...))
	return err
}

func writeJSON(w io.Writer, kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	return writeFrame(w, kind, payload)
}

// readHeader reads kind and length of the next frame.
func readHeader(r *bufio.Reader) (kind byte, n int, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length > maxFrame {
		return 0, 0, fmt.Errorf("frame %q of %d bytes is too long", head[0], length)
	}
	return head[0], int(length), nil
}

// readFrame reads a whole frame of at most limit bytes.
func readFrame(r *bufio.Reader, limit int) (kind byte, payload []byte, err error) {
	kind, n, err := readHeader(r)
	if err != nil {
		return 0, nil, err
	}
	if n > limit {
		return 0, nil, fmt.Errorf("frame %q of %d bytes is too long", kind, n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	return kind, payload, nil
}

func putHeader(buf []byte, kind byte, n int) {
	buf[0] = kind
	binary.BigEndian.PutUint32(buf[1:5], uint32(n))
}

// offsetOf decodes the payload of an ack; anything else is 0, which acknowledges nothing.
func offsetOf(payload []byte) int64 {
	if len(payload) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(payload))
}
