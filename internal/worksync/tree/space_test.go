package tree_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// A file of zeros costs a job nothing. It must not cost the other side its disk.
func TestZerosTakeNoRoom(t *testing.T) {
	dir := t.TempDir()
	tr := open(t, dir, tree.Options{Reserve: 1})
	chance := rand.New(rand.NewPCG(1, 2))
	for name, parts := range map[string][]int{ // of data and of zeros, by turns
		"zeros": {0, 8 << 20}, "between": {5, 4 << 20, 3 << 20, 3<<20 + 7, 11}, "end": {1 << 20, 5<<20 + 1}, "empty": {},
		"small": {0, 100}, "mixed": {1, 1, 1, 40 << 10, 1},
	} {
		var text []byte
		data := 0
		for i, n := range parts {
			part := make([]byte, n)
			if i%2 == 0 {
				data += n
				for k := range part {
					part[k] = byte(1 + chance.IntN(255))
				}
			}
			text = append(text, part...)
		}
		w, err := tr.Create(file(name), 1e9, tree.Terms{Force: true})
		must(t, err)
		for rest := text; len(rest) > 0; {
			n := min(len(rest), 1+chance.IntN(200<<10))
			wrote, err := w.Write(rest[:n])
			if must(t, err); wrote != n {
				t.Fatalf("%s: %d of %d bytes", name, wrote, n)
			}
			rest = rest[n:]
		}
		must(t, w.Commit(hashOf(string(text))))
		if diff := cmp.Diff(string(text), string(read(t, filepath.Join(dir, name)))); diff != "" {
			t.Errorf("%s is not what was written", name)
		}
		var st syscall.Stat_t
		must(t, syscall.Stat(filepath.Join(dir, name), &st))
		if takes := st.Blocks * 512; takes > int64(data+len(parts)*1<<20) {
			t.Errorf("%s takes %d bytes, %d of them are not zero", name, takes, data)
		}
	}
	refresh(t, tr)
	if list := changes(t, tr); len(list) > 0 {
		t.Errorf("%v", list)
	}
}

func TestOthersFindRoomOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("a small disk is not to be had: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	tr := open(t, dir, tree.Options{Reserve: 1 << 30})
	must(t, put(tr, file("first"), "text", tree.Terms{Force: true}))
	must(t, os.WriteFile(filepath.Join(dir, "full"), make([]byte, 4<<20-100<<10), 0o600))
	if err := put(tr, file("second"), "text", tree.Terms{Force: true}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if all := walk(t, dir); len(all) != 2 {
		t.Errorf("%v", all)
	}
	must(t, os.Remove(filepath.Join(dir, "full")))
	must(t, put(tr, file("second"), "text", tree.Terms{Force: true}))
}
