package kubetest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy passes TCP connections on, until it is told to break them.
type Proxy struct {
	Addr string // host:port to connect to

	listener net.Listener
	target   string
	budget   func() int64
	refuse   atomic.Bool
	count    atomic.Int64
	cuts     atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]bool
	held *sync.Cond // of mu: waited on while holding
	hold bool
	over bool
}

// NewProxy listens on host (Cluster.Address: pods reach it; "127.0.0.1") and passes connections on to target
// (HOST:PORT). Budget, unless nil, is asked once for each connection: after so many bytes, in both directions
// together, the connection is reset; a negative number is no limit. The proxy ends with the test.
func NewProxy(t testing.TB, host, target string, budget func() int64) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatalf("starting a proxy: %v", err)
	}
	if budget == nil {
		budget = func() int64 { return -1 }
	}
	p := &Proxy{Addr: listener.Addr().String(), listener: listener, target: target, budget: budget, open: map[net.Conn]bool{}}
	p.held = sync.NewCond(&p.mu)
	var running sync.WaitGroup
	running.Go(p.serve)
	t.Cleanup(func() {
		listener.Close()
		p.Resume()
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
		p.Cut()
		running.Wait()
	})
	return p
}

// Proxy is one in front of the API server, for pods and for this machine; see Proxy.Env.
func (c *Cluster) Proxy(t testing.TB, budget func() int64) *Proxy {
	t.Helper()
	c.Own(t)
	at, err := url.Parse(c.Config.Host)
	if err != nil {
		t.Fatalf("finding the API server: %v", err)
	}
	return NewProxy(t, c.Address, at.Host, budget)
}

// Env is the environment in which a pod takes the proxy for the API server.
func (p *Proxy) Env() []string {
	host, port, _ := net.SplitHostPort(p.Addr) // it is a listener's address
	return []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}
}

// Connections counts those that were taken.
func (p *Proxy) Connections() int { return int(p.count.Load()) }

// Cuts counts those that were reset because their bytes were used up.
func (p *Proxy) Cuts() int { return int(p.cuts.Load()) }

// Refuse resets new connections at once, or takes them again. Those that are open stay.
func (p *Proxy) Refuse(refuse bool) { p.refuse.Store(refuse) }

// Cut resets every open connection and tells how many there were.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	ends := len(p.open)
	for conn := range p.open {
		reset(conn)
	}
	clear(p.open)
	return ends / 2
}

// Hold keeps back whatever comes, in both directions, as a network that drops packets does; Resume lets it go on.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = true
}

// Resume ends Hold.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = false
	p.held.Broadcast()
}

func (p *Proxy) serve() {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.count.Add(1)
		connections.Go(func() { p.pass(client) })
	}
}

func (p *Proxy) pass(client net.Conn) {
	if p.refuse.Load() {
		reset(client)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	if !p.keep(client, server) {
		return
	}
	var left atomic.Int64
	limit := p.budget()
	left.Store(limit)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			if p.copy(way[1], way[0], limit >= 0, &left) {
				reset(client)
				reset(server)
			}
		})
	}
	both.Wait()
	if left.Load() < 0 && limit >= 0 {
		p.cuts.Add(1)
	}
	p.mu.Lock()
	delete(p.open, client)
	delete(p.open, server)
	p.mu.Unlock()
	client.Close()
	server.Close()
}

// keep notes the two ends of a connection, so that they can be cut.
func (p *Proxy) keep(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		reset(client)
		reset(server)
		return false
	}
	p.open[client], p.open[server] = true, true
	return true
}

// copy passes one direction on and tells whether the connection is to be reset: its bytes are used up, or it was cut.
func (p *Proxy) copy(to, from net.Conn, limited bool, left *atomic.Int64) bool {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.waitHeld()
		cut := false
		if limited {
			if after := left.Add(-int64(n)); after < 0 {
				n, cut = max(0, n+int(after)), true
			}
		}
		if _, writeErr := to.Write(buffer[:n]); writeErr != nil || cut {
			return true
		}
		if err == io.EOF {
			if half, ok := to.(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
			return false
		}
		if err != nil {
			return true
		}
	}
}

func (p *Proxy) waitHeld() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hold {
		p.held.Wait()
	}
}

// reset closes a connection so that the other end sees an error, not an end.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
