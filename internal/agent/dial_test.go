package agent_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

// sharedFolder is a work folder with an agent's folder in it, as prepare_job makes it.
func sharedFolder(t *testing.T) (work, rel string) {
	t.Helper()
	work, rel = t.TempDir(), filepath.Join("_temp", agent.FolderName("x"))
	mkdir(t, filepath.Join(work, rel, agent.SharedDir))
	if err := os.Chmod(filepath.Join(work, rel), 0o700); err != nil {
		t.Fatal(err)
	}
	return work, rel
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// listenAt accepts connections, and counts them by sending "hello".
func listenAt(t *testing.T, path string) {
	t.Helper()
	here := filepath.Join("/tmp", "gantry-"+filepath.Base(filepath.Dir(t.TempDir()))+".sock") // a short path
	l, err := net.Listen("unix", here)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	if err := os.Rename(here, path); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
}

func TestTheSocketIsReachedByAnyLengthOfPath(t *testing.T) {
	work, rel := sharedFolder(t)
	long := filepath.Join(work, strings.Repeat("long/", 40))
	mkdir(t, long)
	if err := os.Rename(filepath.Join(work, "_temp"), filepath.Join(long, "_temp")); err != nil {
		t.Fatal(err)
	}
	listenAt(t, filepath.Join(long, rel, agent.SharedDir, agent.SocketName))
	conn, err := agent.SocketDialer(long, rel)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
	if uid, err := agent.SocketOwner(long, rel); uid != os.Geteuid() || err != nil {
		t.Errorf("owner %d, %v", uid, err)
	}
}

// A step could lead the hook, and the secrets that it sends, to any socket of the host.
func TestNothingOnTheWayToTheSocketMayBeALink(t *testing.T) {
	for name, plant := range map[string]func(t *testing.T, work, rel, elsewhere string) error{
		"the socket": func(_ *testing.T, work, rel, elsewhere string) error {
			return os.Symlink(filepath.Join(elsewhere, agent.SharedDir, agent.SocketName), filepath.Join(work, rel, agent.SharedDir, agent.SocketName))
		},
		"the shared folder": func(_ *testing.T, work, rel, elsewhere string) error {
			return errors.Join(os.Remove(filepath.Join(work, rel, agent.SharedDir)),
				os.Symlink(filepath.Join(elsewhere, agent.SharedDir), filepath.Join(work, rel, agent.SharedDir)))
		},
		"the agent's folder": func(_ *testing.T, work, rel, elsewhere string) error {
			return errors.Join(os.RemoveAll(filepath.Join(work, rel)), os.Symlink(elsewhere, filepath.Join(work, rel)))
		},
		"the folder above": func(_ *testing.T, work, rel, elsewhere string) error {
			return errors.Join(os.RemoveAll(filepath.Join(work, "_temp")), os.Symlink(filepath.Join(elsewhere, "../.."), filepath.Join(work, "_temp")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			work, rel := sharedFolder(t)
			other, _ := sharedFolder(t)
			listenAt(t, filepath.Join(other, rel, agent.SharedDir, agent.SocketName))
			if err := plant(t, work, rel, filepath.Join(other, rel)); err != nil {
				t.Fatal(err)
			}
			if conn, err := agent.SocketDialer(work, rel)(t.Context()); err == nil {
				conn.Close()
				t.Error("the hook followed it")
			}
			if uid, err := agent.SocketOwner(work, rel); err == nil {
				t.Errorf("its owner is said to be %d", uid)
			}
		})
	}
}

func TestAFolderThatOthersCanEnterIsRefused(t *testing.T) {
	work, rel := sharedFolder(t)
	listenAt(t, filepath.Join(work, rel, agent.SharedDir, agent.SocketName))
	if err := os.Chmod(filepath.Join(work, rel), 0o750); err != nil {
		t.Fatal(err)
	}
	if conn, err := agent.SocketDialer(work, rel)(t.Context()); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("%v, %v", conn, err)
	}
}

func TestAFileInPlaceOfTheSocketIsRefused(t *testing.T) {
	work, rel := sharedFolder(t)
	if err := os.WriteFile(filepath.Join(work, rel, agent.SharedDir, agent.SocketName), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if conn, err := agent.SocketDialer(work, rel)(t.Context()); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("%v, %v", conn, err)
	}
}
