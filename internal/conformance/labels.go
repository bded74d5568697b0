package conformance

import "sync"

// labels knows which runner's containers have which labels. So what belongs to a runner is recognised by labels that
// no container but the runner's has, whatever they are called. It may be used by several goroutines at once.
type labels struct {
	mu sync.Mutex
	// owners has the only owner that containers with a label had, by "key=value"; "" for more than one.
	owners map[string]string
	// compared: containers of two runners were seen, or there is only one. Before that a label that all runners of a
	// hook have would be taken for one runner's.
	compared bool
}

// note remembers whose container has which labels.
func (l *labels) note(has map[string]string, owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners == nil {
		l.owners = map[string]string{}
	}
	for key, value := range has {
		label := key + "=" + value
		if known, ok := l.owners[label]; ok && known != owner {
			l.owners[label] = ""
		} else {
			l.owners[label] = owner
		}
	}
}

// only says whether one of the labels was only ever seen on containers of an owner.
func (l *labels) only(has map[string]string, owner string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, value := range has {
		if l.compared && l.owners[key+"="+value] == owner {
			return true
		}
	}
	return false
}

func (l *labels) believed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.compared
}

// believe says that the labels of two runners were compared.
func (l *labels) believe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.compared = true
}
