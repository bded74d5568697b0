package worksync

import (
	"path"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// yield drops the jobs of the side that loses where those of the one that wins are in their way: at the same path, below
// a path at which there is a file or link now, or at a folder's. A folder that one side has removed or replaced is still
// needed if the other side has something in it that counts: the paths are those of such folders, which the side has to
// tell of again that still has them.
func yield(losers, winners []job) (ofLosers, ofWinners []string) {
	theirs, folders := map[string]tree.Kind{}, map[string]bool{}
	for _, j := range winners {
		if theirs[j.Path] = j.Kind; j.Kind != tree.Gone {
			addFolders(folders, j.Path)
		}
	}
	kept := map[string]bool{}
	for i := range losers {
		j := &losers[i]
		lost := j.Kind != tree.Folder && folders[j.Path]
		if lost {
			ofWinners = append(ofWinners, j.Path)
		}
		j.done = lost || above(j.Path, func(p string) bool {
			kind, changed := theirs[p]
			return changed && (p == j.Path || kind == tree.File || kind == tree.Link)
		})
		if !j.done && j.Kind != tree.Gone {
			addFolders(kept, j.Path)
		}
	}
	for i := range losers {
		j := &losers[i]
		if j.Kind == tree.Folder && kept[j.Path] {
			j.done = j.done && theirs[j.Path] != tree.Gone
			delete(kept, j.Path)
		}
	}
	for p := range kept {
		if kind, changed := theirs[p]; changed && kind == tree.Gone {
			ofLosers = append(ofLosers, p)
		}
	}
	return ofLosers, ofWinners
}

// addFolders adds the folders that a path lies in.
func addFolders(folders map[string]bool, p string) {
	above(path.Dir(p), func(p string) bool {
		known := folders[p]
		folders[p] = true
		return known
	})
}
