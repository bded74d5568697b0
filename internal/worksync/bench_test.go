package worksync_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/internal/worksync"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// manyFiles makes 10,000 files in _temp and 50,000 in a workspace of 5,000 folders.
func manyFiles(b testing.TB, dir string) {
	b.Helper()
	must(b, os.MkdirAll(filepath.Join(dir, "_temp"), 0o755))
	for i := range 10_000 {
		must(b, os.WriteFile(filepath.Join(dir, "_temp", fmt.Sprint("file", i)), []byte(fmt.Sprint(i)), 0o644))
	}
	for d := range 5_000 {
		folder := filepath.Join(dir, "r", "r", "node_modules", fmt.Sprint("package", d/20), fmt.Sprint("lib", d%20))
		must(b, os.MkdirAll(folder, 0o755))
		for i := range 10 {
			must(b, os.WriteFile(filepath.Join(folder, fmt.Sprint("module", i, ".js")), []byte(fmt.Sprint(d, i)), 0o644))
		}
	}
}

// Around a step, a Sync of each kind is needed.
func BenchmarkNothingChanged(b *testing.B) {
	for name, config := range modes() {
		b.Run(name, func(b *testing.B) {
			p := newPair(b)
			p.config = config
			manyFiles(b, p.host)
			s := p.session(b)
			sync(b, s, tree.Host)
			sync(b, s, tree.Container)
			for b.Loop() {
				sync(b, s, tree.Host)
				sync(b, s, tree.Container)
			}
		})
	}
}

// A step gets a script and files for its commands, and writes to one of them.
func BenchmarkAStepsFiles(b *testing.B) {
	p := newPair(b)
	manyFiles(b, p.host)
	s := p.session(b)
	sync(b, s, tree.Host)
	i := 0
	for b.Loop() {
		i++
		write(b, filepath.Join(p.host, "_temp", fmt.Sprint(i, ".sh")), "echo x=y >> $GITHUB_OUTPUT")
		for _, name := range []string{"set_output", "set_env", "add_path", "save_state", "step_summary"} {
			write(b, filepath.Join(p.host, "_temp/_runner_file_commands", fmt.Sprint(name, i)), "")
		}
		sync(b, s, tree.Host)
		write(b, filepath.Join(p.pod, "_temp/_runner_file_commands", fmt.Sprint("set_output", i)), "x=y")
		sync(b, s, tree.Container)
	}
}

func BenchmarkTheFirstSyncOf60000Files(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		p := newPair(b)
		manyFiles(b, p.host)
		s := p.session(b)
		b.StartTimer()
		sync(b, s, tree.Host)
	}
}

// A file of 1 GiB of which one byte has changed.
func BenchmarkALargeFile(b *testing.B) {
	const size = 1 << 30
	for name, content := range map[string]io.Reader{"random": rand.NewChaCha8([32]byte{}), "zeros": zeros{}} {
		for direction, wins := range map[string]tree.Side{"to the container": tree.Host, "to the host": tree.Container} {
			b.Run(name+" "+direction, func(b *testing.B) {
				p := newPair(b)
				s := p.session(b)
				dir := p.host
				if wins == tree.Container {
					dir = p.pod
				}
				f, err := os.Create(filepath.Join(dir, "large"))
				must(b, err)
				defer f.Close()
				_, err = io.CopyN(f, content, size)
				must(b, err)
				sync(b, s, wins)
				b.SetBytes(size)
				var report worksync.Report
				for i := byte(0); b.Loop(); i++ {
					_, err := f.WriteAt([]byte{i + 1}, size/2)
					must(b, err)
					if report = sync(b, s, wins); report.Sent.Names+report.Received.Names != 1 {
						b.Fatalf("%+v", report)
					}
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
