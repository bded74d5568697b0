package worksync

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// liar is an agent that a job has taken over: it says what it likes.
type liar struct {
	changes []tree.Change
	give    func(l *link, req request) error // answers msgGet
	silent  bool                             // says nothing to what it is asked to do
}

func (a liar) serve(_ context.Context, conn net.Conn, in *bufio.Reader, _ json.RawMessage) {
	l := newLink(conn, in)
	err := errors.Join(l.sendJSON(msgHello, welcome{Instance: "x"}), l.flush())
	for err == nil {
		var kind byte
		var payload []byte
		if l.idle() {
			err = l.flush()
		}
		if err == nil {
			kind, payload, err = l.receive(nil)
		}
		if err != nil {
			return
		}
		switch kind {
		case msgPing:
			err = l.send(msgPong)
		case msgChanges:
			for _, c := range a.changes {
				err = errors.Join(err, l.send(msgEntries, c.Append(nil)))
			}
			err = errors.Join(err, l.sendJSON(msgUpto, upto{Upto: 1, Watched: true}))
		case msgGet:
			req, decodeErr := decodeRequest(payload)
			err = errors.Join(decodeErr, a.give(l, req))
		case msgMake:
			req, decodeErr := decodeRequest(payload)
			if err = decodeErr; !a.silent {
				err = errors.Join(err, l.send(msgDone, done{id: req.id}.encode()))
			}
		}
	}
}

// againstALiar keeps a folder in step with an agent that lies. Beside it lies another one, with a file "kept".
func againstALiar(t *testing.T, config Config, a liar) (dir string, report Report, err error) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "work")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "_temp", "_runner_file_commands"), 0o755), os.Mkdir(filepath.Join(base, "outside"), 0o755),
		os.WriteFile(filepath.Join(base, "outside", "kept"), []byte("kept"), 0o644),
		os.Symlink("../outside", filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	socket := filepath.Join(base, "s")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		opts := agent.ServerOptions{Socket: socket, Services: map[string]agent.Service{Operation: a.serve}}
		_, _ = agent.NewServer(opts).Serve(ctx) // the claim shows whether it serves
	}()
	t.Cleanup(func() { stop(); <-ended })
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", socket) }
	c := &agent.Client{Dial: dial, Token: "t", GiveUp: 100 * time.Millisecond}
	if _, err := c.Claim(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Work: dir, Root: "/", Client: c, Config: config, State: filepath.Join(base, "state")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	report, err = s.Sync(ctx, tree.Container)
	names, globErr := filepath.Glob(filepath.Join(base, "outside", "*"))
	text, readErr := os.ReadFile(filepath.Join(base, "outside", "kept"))
	if globErr != nil || readErr != nil || len(names) != 1 || string(text) != "kept" {
		t.Errorf("outside there is %q, kept is %q", names, text)
	}
	return dir, report, err
}

func hashOf(text string) tree.Hash { return sha256.Sum256([]byte(text)) }

func aFile(path, text string) tree.Change {
	return tree.Change{Path: path, Entry: tree.Entry{Kind: tree.File, Mode: 0o644, Size: int64(len(text)), Hash: hashOf(text)}}
}

// honest gives a file with the text "text".
func honest(l *link, req request) error {
	req.change = aFile(req.change.Path, "text")
	return errors.Join(l.send(msgFile, req.encode()), l.send(msgData, []byte("text")), l.send(msgEnd, ending{hash: hashOf("text")}.encode()))
}

func TestPathsOfTheContainersThatLeadOutAreRefused(t *testing.T) {
	for _, path := range []string{"../outside/new", "..", "/etc/new", "a/../../outside/new", "", ".", "a//b", strings.Repeat("x", 300)} {
		for _, c := range []tree.Change{
			aFile(path, "text"), {Path: path, Entry: tree.Entry{Kind: tree.Folder, Mode: 0o755}}, {Path: path},
			{Path: path, Entry: tree.Entry{Kind: tree.Link, Target: "x"}},
		} {
			if _, _, err := againstALiar(t, Defaults(), liar{changes: []tree.Change{c}, give: honest}); err == nil {
				t.Errorf("%.40q was taken", path)
			}
		}
	}
}

func TestLinksOfTheHostAreNotFollowed(t *testing.T) {
	dir, _, err := againstALiar(t, Defaults(), liar{give: honest, changes: []tree.Change{
		aFile("link/kept", "text"), aFile("link/new", "text"), {Path: "link/kept"},
		{Path: "other", Entry: tree.Entry{Kind: tree.Link, Target: "../outside"}}, aFile("other/kept", "text"),
	}})
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"link/new", "other/kept"} {
		if info, err := os.Lstat(filepath.Join(dir, filepath.Dir(name))); err != nil || !info.IsDir() {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestWhatTheRunnerNeedsStaysWhatItIs(t *testing.T) {
	dir, report, err := againstALiar(t, Defaults(), liar{give: honest, changes: []tree.Change{
		{Path: "_temp"}, {Path: "_temp/_runner_file_commands"}, aFile("_actions", "text"),
		{Path: "_temp", Entry: tree.Entry{Kind: tree.Link, Target: "/etc"}},
		{Path: "_temp/_runner_file_commands/set_output_1", Entry: tree.Entry{Kind: tree.Link, Target: "/etc/passwd"}},
		aFile("_temp/_runner_file_commands/set_env_1", "text"), aFile("_temp/.gantry/x", "text"), aFile("_tool/x", "text"),
		{Path: "elsewhere", Entry: tree.Entry{Kind: tree.Link, Target: "/etc/passwd"}},
	}})
	if err != nil || len(report.Notes) != 4 {
		t.Errorf("%+v, %v", report.Notes, err)
	}
	for name, there := range map[string]bool{
		"_temp/_runner_file_commands/set_env_1": true, "elsewhere": true, "_temp/_runner_file_commands/set_output_1": false,
		"_actions": false, "_temp/.gantry": false, "_tool": false,
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAgentThatDoesNotKeepToTheProtocolIsLeft(t *testing.T) {
	one := []tree.Change{aFile("f", "text")}
	for name, a := range map[string]liar{
		"more than announced": {changes: one, give: func(l *link, req request) error {
			req.change = aFile("f", "text")
			return errors.Join(l.send(msgFile, req.encode()), l.send(msgData, []byte("text and more")))
		}},
		"another file": {changes: one, give: func(l *link, req request) error {
			req.change = aFile("_temp/other", "text")
			return l.send(msgFile, req.encode())
		}},
		"a file that nobody has asked for": {changes: one, give: func(l *link, req request) error {
			req.id++
			return honest(l, req)
		}},
		"the rest of a file whose beginning nobody has": {changes: one, give: func(l *link, req request) error {
			req.change, req.offset = aFile("f", "text"), 2
			return l.send(msgFile, req.encode())
		}},
		"data of no file":   {changes: one, give: func(l *link, _ request) error { return l.send(msgData, []byte("x")) }},
		"another hash":      {changes: one, give: corrupt},
		"no answer":         {silent: true},
		"nonsense":          {changes: one, give: func(l *link, _ request) error { return l.send('?', []byte("x")) }},
		"a result for none": {changes: one, give: func(l *link, _ request) error { return l.send(msgDone, done{id: 99}.encode()) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, err := againstALiar(t, Defaults(), a)
			if err == nil {
				t.Error("nobody has noticed")
			}
			names, globErr := filepath.Glob(filepath.Join(dir, "*"))
			if hidden, _ := filepath.Glob(filepath.Join(dir, ".*")); globErr != nil || len(names) != 2 || len(hidden) != 0 {
				t.Errorf("there is %q, %q", names, hidden)
			}
		})
	}
}

func corrupt(l *link, req request) error {
	req.change = aFile("f", "text")
	return errors.Join(l.send(msgFile, req.encode()), l.send(msgData, []byte("test")), l.send(msgEnd, ending{hash: hashOf("text")}.encode()))
}

func TestLimitsHoldAgainstTheContainer(t *testing.T) {
	long := strings.Repeat("text", 1<<18)
	config := Defaults()
	config.MaxFile = 1 << 10
	dir, report, err := againstALiar(t, config, liar{changes: []tree.Change{aFile("large", long), aFile("f", "text")}, give: honest})
	if err != nil || len(report.Notes) != 1 || report.Notes[0].Path != "large" {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
		t.Error(err)
	}
	grown := func(l *link, req request) error {
		req.change = aFile(req.change.Path, long)
		return errors.Join(l.send(msgFile, req.encode()), l.send(msgData, []byte(long[:1000])), l.send(msgEnd, ending{hash: hashOf(long)}.encode()))
	}
	if _, report, err = againstALiar(t, config, liar{changes: []tree.Change{aFile("f", "text")}, give: grown}); err != nil || len(report.Notes) != 1 {
		t.Errorf("a file that has grown: %+v, %v", report, err)
	}
	config = Defaults()
	config.MaxTotal = 6
	_, report, err = againstALiar(t, config, liar{changes: []tree.Change{aFile("f", "text"), aFile("g", "text")}, give: honest})
	if err != nil || report.Received.Names != 1 || len(report.Notes) != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	config = Defaults()
	config.MaxNames = 1
	if _, _, err := againstALiar(t, config, liar{changes: []tree.Change{aFile("f", "text"), aFile("g", "text")}, give: honest}); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
}
