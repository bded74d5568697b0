package worksync

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// served is a folder that a Server looks at, and a client's link to it.
func served(t *testing.T, files map[string]int64) (*side, *link, string) {
	t.Helper()
	root := t.TempDir()
	for name, size := range files {
		f, err := os.Create(filepath.Join(root, name))
		if err == nil {
			err = f.Truncate(size)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close() })
	hello := Hello{Root: root, Watch: true}
	body, err := json.Marshal(hello)
	if err != nil {
		t.Fatal(err)
	}
	server := &Server{}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go server.Serve(ctx, far, bufio.NewReader(far), body)
	l := newLink(near, bufio.NewReader(near))
	var w welcome
	if err := l.expect(msgHello, &w); err != nil || w.Error != "" {
		t.Fatalf("%+v, %v", w, err)
	}
	s, err := server.side(ctx, hello)
	if err != nil {
		t.Fatal(err)
	}
	return s, l, root
}

// first gives the first message, which has to come within a time.
func (l *link) first(t *testing.T, limit time.Duration) byte {
	t.Helper()
	if err := l.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	kind, _, err := l.receive(nil)
	if err != nil {
		t.Fatalf("nothing came within %v: %v", limit, err)
	}
	return kind
}

func (l *link) say(t *testing.T, kind byte, payload ...[]byte) {
	t.Helper()
	if err := l.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := l.send(kind, payload...); err != nil {
		t.Fatal(err)
	}
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
}

// Whoever has the tree, and for however long: a client that asks for changes hears that the server is there.
func TestAServerThatHasToWaitIsNotSilent(t *testing.T) {
	s, l, _ := served(t, map[string]int64{"a": 1})
	if _, err := s.tree.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	go s.tree.Each(0, func(tree.Change) {
		close(held)
		<-release
	})
	<-held
	defer close(release)
	l.say(t, msgChanges, binary.AppendUvarint(nil, 0))
	if kind := l.first(t, 3*aliveEvery); kind != msgAlive {
		t.Errorf("the first message is of kind %q", kind)
	}
}

// An audit may take as long as reading everything. Nobody has to wait for it, and no ping keeps it from its end.
func TestAnAuditGivesWayToWhoeverAsks(t *testing.T) {
	s, l, root := served(t, map[string]int64{"large": 1 << 40})
	if _, err := s.tree.Refresh(t.Context()); err != nil { // a new one is not read
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(root, "large"), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.used = time.Time{}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.auditOnce(t.Context())
	}()
	time.Sleep(200 * time.Millisecond) // it reads, by then
	l.say(t, msgPing)
	if kind := l.first(t, 10*time.Second); kind != msgPong {
		t.Errorf("a message of kind %q", kind)
	}
	select {
	case <-ended:
		t.Fatal("a ping has ended the audit, or there was none")
	case <-time.After(100 * time.Millisecond):
	}
	l.say(t, msgAgain, []byte("large"))
	l.say(t, msgPing)
	if kind := l.first(t, 10*time.Second); kind != msgPong {
		t.Errorf("a message of kind %q", kind)
	}
	<-ended
}
