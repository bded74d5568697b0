package ownership

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMountsThatShowSomethingElseAreStrangers(t *testing.T) {
	const text = `21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 254:0 /home/r/_work /__w rw - ext4 /dev/vda rw
31 30 254:0 /home/r/_work/_temp /__w/_temp rw - ext4 /dev/vda rw
32 30 254:0 /opt/tools /__w/_tool rw - ext4 /dev/vda rw
33 30 0:45 / /__w/repo/repo/volume rw - nfs server:/x rw
34 30 254:0 /home/r/_work/repo/repo/a /__w/repo/repo/b rw - ext4 /dev/vda rw
35 30 254:0 /home/r/_work/with\040blank /__w/with\040blank rw - ext4 /dev/vda rw
36 33 254:0 /home/r/_work/repo/repo/volume/in /__w/repo/repo/volume/in rw - ext4 /dev/vda rw
37 31 0:9 / /__w/_temp/.gantry ro - tmpfs x ro
38 21 254:0 /home/r/_work /elsewhere rw - ext4 /dev/vda rw
39 21 254:0 /home/r/_workshop /__workshop rw - ext4 /dev/vda rw
`
	mounts, err := parseMounts(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"_temp": false, "_tool": true, "repo/repo/volume": true, "repo/repo/b": true,
		"with blank": false, "repo/repo/volume/in": true, "_temp/.gantry": true,
	}
	if diff := cmp.Diff(want, strangersAmong(mounts, "/__w")); diff != "" {
		t.Error(diff)
	}
}

func TestATempFolderOfItsOwnIsTheRunners(t *testing.T) {
	mounts := []mounted{
		{"254:0", "/", "/"}, {"254:0", "/home/r/_work", "/__w"}, {"0:50", "/", "/__w/_temp"},
		{"0:50", "/_github_home", "/__w/_temp/_github_home"},
	}
	for point, strange := range strangersAmong(mounts, "/__w") {
		if strange {
			t.Errorf("%s is a stranger", point)
		}
	}
}

func TestLinesThatTheKernelDoesNotWriteAreErrors(t *testing.T) {
	for _, text := range []string{"x\n", "1 2 3:4 / /a\\04 x\n", "1 2 3:4 /\\999 /a x\n"} {
		if got, err := parseMounts(text); err == nil {
			t.Errorf("%q gave %v", text, got)
		}
	}
	if _, err := strangers("/"); err != nil {
		t.Errorf("on this machine: %v", err)
	}
}

// Volumes may lie in the workspace; files in them keep their owners.
func TestFilesOfVolumesKeepTheirOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount and change owners")
	}
	dir, volume := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	point := filepath.Join(dir, "repo/volume")
	must(os.MkdirAll(point, 0o755))
	must(os.WriteFile(filepath.Join(volume, "theirs"), nil, 0o600))
	must(os.WriteFile(filepath.Join(dir, "repo/mine"), nil, 0o600))
	must(os.Symlink(filepath.Join(volume, "theirs"), filepath.Join(dir, "repo/link")))
	if err := syscall.Mount(volume, point, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("mounting is not possible here: %v", err)
	}
	t.Cleanup(func() { must(syscall.Unmount(point, 0)) })
	link := filepath.Join(t.TempDir(), "link")
	must(os.Symlink(dir, link))
	dir = link
	n, err := Restore(dir, 4711, 4712)
	if err != nil || n != 4 { // the folder, repo, mine and the link itself
		t.Errorf("%d, %v", n, err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "repo/mine"): "4711:4712", filepath.Join(dir, "repo/link"): "4711:4712", filepath.Join(volume, "theirs"): "0:0",
	} {
		if got := owner(t, path); got != want {
			t.Errorf("%s belongs to %s, not to %s", path, got, want)
		}
	}
	if foreign, err := Foreign(dir, 4711); foreign || err != nil {
		t.Errorf("there is still a foreign file: %v, %v", foreign, err)
	}
	must(os.WriteFile(filepath.Join(dir, "new"), nil, 0o600))
	if foreign, err := Foreign(dir, 4711); !foreign || err != nil {
		t.Errorf("root's new file is not seen: %v, %v", foreign, err)
	}
}

func owner(t *testing.T, path string) string {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", sys.Uid, sys.Gid)
}

// The top of a volume belongs to root, and is the runner's all the same if that can write there.
func TestTheTopOfAVolumeIsNoFile(t *testing.T) {
	dir := t.TempDir()
	other := os.Getuid() + 4711
	if foreign, err := Foreign(dir, other); foreign || err != nil {
		t.Errorf("an empty folder that can be written: %v, %v", foreign, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if foreign, err := Foreign(dir, other); !foreign || err != nil {
		t.Errorf("a file of another user in it: %v, %v", foreign, err)
	}
}
