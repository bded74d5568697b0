package tree

import (
	"fmt"
	"path"
	"strings"
)

// Flow says in which directions changes of a file travel.
type Flow string

// The flows.
const (
	Both Flow = "both" // the default
	In   Flow = "in"   // from the runner's machine to the container
	Out  Flow = "out"  // from the container to the runner's machine
	None Flow = "none" // not at all
)

// Rule says how files of a name travel. What lies below a folder follows the folder's rule, unless one matches it; but
// of a folder that a side does not look at, that side knows no more than that.
type Rule struct {
	// Path is a pattern: "a/b" is that path, "b" without a slash everything of that name. "*", "?" and "[…]" stand for
	// parts of one name, "**" for any number of names. Of several rules that match the last one holds.
	Path string `json:"path"`
	Flow Flow   `json:"flow"`
}

// Check says what is wrong with a rule.
func (r Rule) Check() error {
	switch r.Flow {
	case Both, In, Out, None:
	default:
		return fmt.Errorf("%q is no direction; there are both, in, out and none", r.Flow)
	}
	if strings.Trim(r.Path, "/") == "" {
		return fmt.Errorf("%q is no pattern", r.Path)
	}
	for part := range strings.SplitSeq(strings.Trim(r.Path, "/"), "/") {
		if _, err := path.Match(part, ""); err != nil || part == ".." || part == "." || part == "" {
			return fmt.Errorf("%q is no pattern below the work folder", r.Path)
		}
	}
	return nil
}

// Side is the machine that a tree is on.
type Side string

// The sides.
const (
	Host      Side = "host"
	Container Side = "container"
)

// looksAt says whether a side reports changes of files with a flow.
func (s Side) looksAt(f Flow) bool {
	return f == Both || f == In && s == Host || f == Out && s == Container
}

// Takes says whether a side accepts changes of files with a flow from the other side.
func (s Side) Takes(f Flow) bool {
	return f == Both || f == Out && s == Host || f == In && s == Container
}

// ruleBook answers which rule holds. Most rules name one path or one name and are found without matching.
type ruleBook struct {
	paths, names map[string]ranked
	globs        []glob
}

type ranked struct {
	rank int // its place among the rules, from 1; the highest holds
	flow Flow
}

type glob struct {
	ranked
	parts []string
}

func newRuleBook(rules []Rule) *ruleBook {
	b := &ruleBook{paths: map[string]ranked{}, names: map[string]ranked{}}
	for i, r := range rules {
		pattern, own := strings.Trim(r.Path, "/"), ranked{rank: i + 1, flow: r.Flow}
		anchored := strings.Contains(strings.TrimSuffix(r.Path, "/"), "/")
		switch {
		case strings.ContainsAny(pattern, `*?[\`):
			if !anchored {
				pattern = "**/" + pattern
			}
			b.globs = append(b.globs, glob{ranked: own, parts: strings.Split(pattern, "/")})
		case anchored:
			b.paths[pattern] = own
		default:
			b.names[pattern] = own
		}
	}
	return b
}

// flow is that of a path whose folder has the flow above.
func (b *ruleBook) flow(above Flow, p string) Flow {
	best := ranked{flow: above}
	for _, r := range []ranked{b.paths[p], b.names[path.Base(p)]} {
		if r.rank > best.rank {
			best = r
		}
	}
	for _, g := range b.globs {
		if g.rank > best.rank && matches(g.parts, p) {
			best = g.ranked
		}
	}
	return best.flow
}

// flowOf is that of any path below the folder.
func (b *ruleBook) flowOf(p string) Flow {
	flow := Both
	for i := range len(p) + 1 {
		if i == len(p) || p[i] == '/' {
			flow = b.flow(flow, p[:i])
		}
	}
	return flow
}

// matches compares a path with the parts of a pattern.
func matches(parts []string, p string) bool {
	for len(parts) > 0 {
		if parts[0] == "**" {
			for rest := p; ; {
				if matches(parts[1:], rest) {
					return true
				}
				_, after, more := strings.Cut(rest, "/")
				if !more {
					return len(parts) == 1
				}
				rest = after
			}
		}
		name, rest, more := strings.Cut(p, "/")
		if ok, err := path.Match(parts[0], name); err != nil || !ok {
			return false
		}
		if parts = parts[1:]; !more {
			return len(parts) == 0
		}
		p = rest
	}
	return false
}
