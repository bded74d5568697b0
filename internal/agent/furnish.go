package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Undone is something that the agent was to make in its container and could not: it runs as a user who may not, say.
type Undone struct {
	What string `json:"what"` // UndoneLink, UndoneHost or UndoneUlimit
	Name string `json:"name"` // the link's target, the host's name, or the limit
	Why  string `json:"why"`
}

// The kinds of what can be left undone.
const (
	UndoneLink   = "link"
	UndoneHost   = "host"
	UndoneUlimit = "limit"
)

// Furnish makes the container's links, and its hosts' lines in the file hosts (/etc/hosts), and sets the limits of this
// process. It returns what it could not do; doing it again changes nothing.
func (c ServeConfig) Furnish(hosts string) []Undone {
	var undone []Undone
	if c.Dir != "" && path.Dir(c.Dir) != MountPoint {
		_ = makeLink(Link{Target: MountPoint, Path: c.Dir}) // for those who know the agent by its usual place
	}
	for _, l := range c.Links {
		if err := makeLink(l); err != nil {
			undone = append(undone, Undone{What: UndoneLink, Name: l.Target, Why: err.Error()})
		}
	}
	if err := addHosts(hosts, c.Hosts); err != nil {
		for _, h := range c.Hosts {
			undone = append(undone, Undone{What: UndoneHost, Name: h.Name, Why: err.Error()})
		}
	}
	for _, u := range c.Ulimits {
		if err := u.set(); err != nil {
			undone = append(undone, Undone{What: UndoneUlimit, Name: u.String(), Why: err.Error()})
		}
	}
	return undone
}

// makeLink makes a link unless what is there leads to the same place already. Another link, and an empty folder,
// make way for it.
func makeLink(l Link) error {
	if leadsTo(l) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.Target), 0o755); err != nil {
		return fmt.Errorf("making the folder of a link to %s: %w", l.Path, err)
	}
	err := os.Symlink(l.Path, l.Target)
	if errors.Is(err, fs.ErrExist) {
		if err = clear(l.Target); err == nil {
			err = os.Symlink(l.Path, l.Target)
		}
	}
	if err != nil && !leadsTo(l) { // somebody else may have made it meanwhile
		return fmt.Errorf("making a link to %s: %w", l.Path, err)
	}
	return nil
}

// leadsTo says whether a link, a mount or the folder itself is what the link asks for.
func leadsTo(l Link) bool {
	if to, err := os.Readlink(l.Target); err == nil && to == l.Path {
		return true
	}
	there, err := os.Stat(l.Target)
	if err != nil {
		return false
	}
	wanted, err := os.Stat(l.Path)
	return err == nil && os.SameFile(there, wanted)
}

// clear removes a link or an empty folder, nothing else.
func clear(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSymlink && !info.IsDir() {
		return fs.ErrExist
	}
	return os.Remove(path)
}

// addHosts appends the lines that are missing, in one write.
func addHosts(file string, hosts []Host) error {
	if len(hosts) == 0 {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var missing strings.Builder
	for _, h := range hosts {
		if !resolves(string(text), h) {
			fmt.Fprintf(&missing, "%s\t%s\n", h.IP, h.Name)
		}
	}
	if missing.Len() == 0 {
		return nil
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return appendTo(file, "\n"+missing.String())
	}
	return appendTo(file, missing.String())
}

// resolves says whether a hosts file (hosts(5)) has a host's line.
func resolves(text string, h Host) bool {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == h.IP && slices.Contains(fields[1:], h.Name) {
			return true
		}
	}
	return false
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
