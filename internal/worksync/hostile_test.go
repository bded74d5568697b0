package worksync

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// liar is an agent that a job has taken over: it says what it likes.
type liar struct {
	changes []tree.Change
	give    func(l *link, req request) error // answers msgGet
	silent  bool                             // says nothing to what it is asked to do
	results int                              // how often it answers, if not once
	upto    upto                             // what else it tells of its changes
	again   func(path string)                // hears what it is to tell of again
}

func (a liar) serve(_ context.Context, conn net.Conn, in *bufio.Reader, _ json.RawMessage) {
	l, put := newLink(conn, in), uint64(0)
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
			a.upto.Upto, a.upto.Watched = 1, true
			err = errors.Join(err, l.sendJSON(msgUpto, a.upto))
		case msgGet:
			req, decodeErr := decodeRequest(payload)
			err = errors.Join(decodeErr, a.give(l, req))
		case msgMake:
			req, decodeErr := decodeRequest(payload)
			if err = decodeErr; !a.silent {
				err = errors.Join(err, a.done(l, req.id))
			}
		case msgPut:
			req, decodeErr := decodeRequest(payload)
			put, err = req.id, decodeErr
		case msgEnd:
			err = a.done(l, put)
		case msgAgain:
			if a.again != nil {
				a.again(string(payload))
			}
		}
	}
}

// done answers, more often than it is asked if it is that kind of agent.
func (a liar) done(l *link, id uint64) (err error) {
	d := done{id: id}
	if a.results > 0 {
		d.code, d.text = doneNot, strings.Repeat("x", 1<<19)
	}
	for range max(a.results, 1) {
		err = errors.Join(err, l.send(msgDone, d.encode()))
	}
	return err
}

// againstALiar keeps a folder in step with an agent that lies. Beside it lies another one, with a file "kept".
func againstALiar(t *testing.T, config Config, a liar) (dir string, report Report, err error) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "work")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "_temp", "_runner_file_commands"), 0o755), os.Mkdir(filepath.Join(base, "outside"), 0o755),
		os.WriteFile(filepath.Join(base, "outside", "kept"), []byte("kept"), 0o644),
		os.Symlink("../outside", filepath.Join(dir, "link")), os.MkdirAll(filepath.Join(dir, "_actions", "o"), 0o755),
		os.WriteFile(filepath.Join(dir, "_actions", "o", "main.js"), []byte("own"), 0o644),
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
		{Path: "_actions/evil"}, {Path: "_actions/evil", Entry: tree.Entry{Kind: tree.Link, Target: "/home/runner/externals"}},
		aFile("_actions/o/new", "text"), aFile("_actions/o/main.js", "text"), {Path: "_actions/o/main.js"},
	}})
	if err != nil || len(report.Notes) != 3 {
		t.Errorf("%+v, %v", report.Notes, err)
	}
	for name, there := range map[string]bool{
		"_temp/_runner_file_commands/set_env_1": true, "elsewhere": true, "_temp/_runner_file_commands/set_output_1": false,
		"_actions/o/main.js": true, "_actions/o/new": false, "_actions/evil": false, "_temp/.gantry": false, "_tool": false,
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "_actions/o/main.js")); string(text) != "own" {
		t.Errorf("the runner's action is %q, %v", text, err)
	}
}

// Whatever a user's rules say, the runner must not write through a link of the container's.
func TestNoLinkComesToTheActionsEvenIfFilesDo(t *testing.T) {
	config := Defaults()
	config.Rules = append(config.Rules, tree.Rule{Path: "/_actions", Flow: tree.Both})
	dir, report, err := againstALiar(t, config, liar{give: honest, changes: []tree.Change{
		{Path: "_actions/evil", Entry: tree.Entry{Kind: tree.Link, Target: "/home/runner/externals"}},
	}})
	if _, there := os.Lstat(filepath.Join(dir, "_actions/evil")); there == nil || err != nil || len(report.Notes) != 1 {
		t.Errorf("%v, %+v, %v", there, report.Notes, err)
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
		"data of no file":      {changes: one, give: func(l *link, _ request) error { return l.send(msgData, []byte("x")) }},
		"another hash":         {changes: one, give: corrupt},
		"no answer":            {silent: true},
		"nonsense":             {changes: one, give: func(l *link, _ request) error { return l.send('?', []byte("x")) }},
		"many results for one": {results: 2},
		"a result for none":    {changes: one, give: func(l *link, _ request) error { return l.send(msgDone, done{id: 99}.encode()) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, err := againstALiar(t, Defaults(), a)
			if err == nil {
				t.Error("nobody has noticed")
			}
			names, globErr := filepath.Glob(filepath.Join(dir, "*"))
			if hidden, _ := filepath.Glob(filepath.Join(dir, ".*")); globErr != nil || len(names) != 3 || len(hidden) != 0 {
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

func TestNamesAreBoundedInBytesToo(t *testing.T) {
	var long, deep []tree.Change
	part := "/" + strings.Repeat("x", 250)
	for i := range maxNamesSize / 3900 {
		long = append(long, tree.Change{Path: fmt.Sprint(i) + strings.Repeat(part, 15), Entry: tree.Entry{Kind: tree.Folder, Mode: 0o755}})
	}
	for i := range 100 { // each has to be made with all that it lies in
		deep = append(deep, tree.Change{Path: fmt.Sprint(i) + strings.Repeat("/d", 100), Entry: tree.Entry{Kind: tree.Folder, Mode: 0o755}})
	}
	few := Defaults()
	few.MaxNames = 1000
	for name, c := range map[string]struct {
		Config
		changes []tree.Change
	}{"long": {Defaults(), append(long, long...)}, "deep": {few, deep}} {
		dir, _, err := againstALiar(t, c.Config, liar{changes: c.changes})
		if !errors.Is(err, ErrTooMany) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "0")); err == nil {
			t.Errorf("%s: it was begun", name)
		}
	}
}

// What is announced need not be what comes: files that hold nothing, and then more than all may.
func TestWhatArrivesCountsAgainstTheSum(t *testing.T) {
	config := Defaults()
	config.MaxTotal = 10
	var empty []tree.Change
	for i := range 5 {
		empty = append(empty, aFile(fmt.Sprint("f", i), ""))
	}
	_, report, err := againstALiar(t, config, liar{changes: empty, give: honest})
	if err != nil || report.Received.Bytes > config.MaxTotal || report.Received.Names != 2 || len(report.Notes) != 3 {
		t.Errorf("%+v, %v", report, err)
	}
}

// What the container says is said in lines of bounded length, without what a terminal or the runner would obey.
func TestWhatTheContainerSaysIsMadePrintable(t *testing.T) {
	bad := "x\n::set-output name=a::b\r\x1b[2J\u009b\u202e\xff" + strings.Repeat("é", 1000)
	a := liar{
		changes: []tree.Change{{Path: "_temp/_runner_file_commands/\n::error", Entry: tree.Entry{Kind: tree.Link, Target: "x"}}, aFile("f", "text")},
		upto:    upto{Notes: []tree.Note{{Path: bad, What: bad}, {What: bad}}},
		give: func(l *link, req request) error {
			return l.send(msgDone, done{id: req.id, code: doneNot, text: bad}.encode())
		},
	}
	_, report, err := againstALiar(t, Defaults(), a)
	lines := report.Lines()
	if err != nil || len(lines) != 4 {
		t.Errorf("%q, %v", lines, err)
	}
	for _, line := range lines {
		odd := strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) })
		if odd || len(line) > 1500 || !utf8.ValidString(line) {
			t.Errorf("%q", line)
		}
	}
}

func TestNotesAreBoundedInNumber(t *testing.T) {
	var links []tree.Change
	for i := range 3 * maxNotes {
		links = append(links, tree.Change{Path: fmt.Sprint("_temp/_runner_file_commands/", i), Entry: tree.Entry{Kind: tree.Link, Target: "x"}})
	}
	_, report, err := againstALiar(t, Defaults(), liar{changes: links})
	if lines := report.Lines(); err != nil || len(report.Notes) != maxNotes+1 || len(lines) != maxLines+1 {
		t.Errorf("%d notes, %q, %v", len(report.Notes), lines, err)
	}
}

// The container's side tells of so much at most that it fits a message, and of what the runner waits for first.
func TestTheContainerTellsOfWhatMattersFirst(t *testing.T) {
	var notes []tree.Note
	for i := range 10_000 {
		notes = append(notes, tree.Note{Path: fmt.Sprintf("a/%05d", i), What: "cannot be read", Unread: true})
	}
	notes = append(notes, tree.Note{Path: "c/set_output", What: "cannot be read", Unread: true})
	got := some(notes, []string{"c"})
	if len(got) != maxLines+1 || got[0].Path != "c/set_output" || got[maxLines].Path != "" || !strings.Contains(got[maxLines].What, "9981") {
		t.Errorf("%+v", got)
	}
}

// A file may get closed after it was told of. It must not be forgotten, and least of all one that the runner waits for.
func TestWhatCannotBeSentIsToldOfAgain(t *testing.T) {
	for path, want := range map[string]error{"f": nil, "_temp/_runner_file_commands/set_output_1": ErrUnread} {
		heard := make(chan string, 9)
		_, report, err := againstALiar(t, Defaults(), liar{
			changes: []tree.Change{aFile(path, "text")},
			give: func(l *link, req request) error {
				return l.send(msgDone, result(req.id, syscall.EACCES).encode())
			},
			again: func(path string) { heard <- path },
		})
		close(heard) // it is to have heard it by now
		if again := <-heard; again != path || !errors.Is(err, want) || len(report.Notes) != 1 {
			t.Errorf("%s: %v, told again %q, %+v", path, err, again, report.Notes)
		}
	}
}
