package tree

import (
	"syscall"
	"testing"
)

func TestTheReserveOfASmallDiskIsSmall(t *testing.T) {
	const reserve = 1 << 20
	for _, c := range []struct {
		blocks, free uint64
		want         bool
	}{{1 << 30, 257, true}, {1 << 30, 256, false}, {1 << 30, 0, false}, {100, 6, true}, {100, 5, false}, {0, 0, true}} {
		st := syscall.Statfs_t{Bsize: 4096, Blocks: c.blocks, Bavail: c.free}
		if got := spares(&st, reserve); got != c.want {
			t.Errorf("%d of %d blocks are free: %v", c.free, c.blocks, got)
		}
	}
}
