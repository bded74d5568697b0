package agent

import (
	"io"
	"net"
	"sync"
	"time"
)

// Heartbeat is for links that may fall silent without an end, as those through proxies and other machines do: the
// client sends a ping so often, and each side gives the connection up when missed times as long nothing has come.
const (
	Heartbeat = 5 * time.Second
	missed    = 3
)

// pulse is a connection that is closed when somebody waits for longer than limit for it to bring anything; 0: never.
// One that waits for something else, such as the reader of a step's output, costs it nothing.
type pulse struct {
	net.Conn
	limit time.Duration
	timer *time.Timer
}

func (p *pulse) Read(b []byte) (int, error) {
	if p.limit == 0 {
		return p.Conn.Read(b)
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, func() { p.Conn.Close() })
	} else {
		p.timer.Reset(p.limit)
	}
	defer p.timer.Stop()
	return p.Conn.Read(b)
}

// sender writes frames of more than one origin to a connection. Each frame is one Write.
type sender struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sender) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// pong answers a ping, unless something else is on its way, which is as good an answer. It never waits.
func (s *sender) pong() {
	go func() {
		if s.mu.TryLock() {
			defer s.mu.Unlock()
			writeFrame(s.w, framePong, nil) // lost: so is the connection
		}
	}()
}
