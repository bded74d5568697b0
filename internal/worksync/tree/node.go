package tree

import "strings"

// node is a name below the tree's folder, as it was seen last.
type node struct {
	parent *node // nil: the folder itself
	name   string
	entry  Entry
	id     ident
	// racy: the file was read so shortly after a change that a later change may have left the same ident.
	racy bool
	seq  uint64 // of its last change in the log
	dead bool   // removed from the tree
	// touched: among Tree.touched; due: among Tree.unread.
	touched, due bool
	*folder
}

// folder is what only folders have.
type folder struct {
	children map[string]*node
	flow     Flow
	watch    int32 // its inotify watch, or noWatch
}

const noWatch = -1

func newFolder(flow Flow) *folder {
	return &folder{children: map[string]*node{}, flow: flow, watch: noWatch}
}

// path is the node's name below the tree's folder; "" is the folder itself.
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	if n.parent.parent == nil {
		return n.name
	}
	return n.parent.path() + "/" + n.name
}

// below is the path of a name in the node.
func (n *node) below(name string) string {
	if n.parent == nil {
		return name
	}
	return n.path() + "/" + name
}

func (n *node) depth() int {
	d := 0
	for ; n.parent != nil; n = n.parent {
		d++
	}
	return d
}

// each calls f for every node below n, folders before what is in them.
func (n *node) each(f func(*node)) {
	if n.folder == nil {
		return
	}
	for _, c := range n.children {
		f(c)
		c.each(f)
	}
}

// find is the node of a path, or nil.
func (n *node) find(path string) *node {
	for more := path != ""; more && n != nil; {
		var name string
		name, path, more = strings.Cut(path, "/")
		if n.folder == nil {
			return nil
		}
		n = n.children[name]
	}
	return n
}
