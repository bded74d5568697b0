package joblog

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Stars stand where a secret was.
const Stars = "***"

// Masks are the secrets of a job. They may be used by several goroutines at once.
type Masks struct {
	mu      sync.RWMutex
	secrets map[string]bool
}

// Add hides a value from now on: as it is, each of its lines, and in the encodings that programs print values in
// (the runner's own set: Base64 at each alignment, JSON, URI). Empty values and blanks are no secrets.
func (m *Masks) Add(value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.secrets == nil {
		m.secrets = map[string]bool{}
	}
	m.add(value)
	for line := range strings.Lines(value) {
		m.add(strings.TrimRight(line, "\r\n"))
	}
}

func (m *Masks) add(value string) {
	if strings.TrimSpace(value) == "" {
		return
	}
	m.secrets[value] = true
	for _, encoded := range encodings(value) {
		if len(encoded) > 3 { // shorter ones are everywhere
			m.secrets[encoded] = true
		}
	}
}

func encodings(value string) []string {
	all := []string{url.QueryEscape(value), url.PathEscape(value), strings.Trim(value, `"`)}
	if quoted, err := json.Marshal(value); err == nil {
		all = append(all, string(quoted[1:len(quoted)-1]))
	}
	for shift := range 3 {
		if shift >= len(value) {
			break
		}
		encoded := strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value[shift:])), "=")
		if (len(value)-shift)%3 != 0 { // the last digit depends on what follows
			encoded = encoded[:len(encoded)-1]
		}
		all = append(all, encoded)
	}
	return all
}

// Mask replaces every secret in text by three stars; overlapping and adjacent ones by one set of them.
func (m *Masks) Mask(text string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var hits []span
	for secret := range m.secrets {
		for from := 0; ; {
			i := strings.Index(text[from:], secret)
			if i < 0 {
				break
			}
			hits = append(hits, span{from + i, from + i + len(secret)})
			from += i + 1
		}
	}
	if len(hits) == 0 {
		return text
	}
	return cover(text, hits)
}

type span struct{ start, end int }

func cover(text string, hits []span) string {
	slices.SortFunc(hits, func(a, b span) int { return a.start - b.start })
	var b strings.Builder
	done := 0
	for i := 0; i < len(hits); {
		hit := hits[i]
		for i++; i < len(hits) && hits[i].start <= hit.end; i++ {
			hit.end = max(hit.end, hits[i].end)
		}
		b.WriteString(text[done:hit.start])
		b.WriteString(Stars)
		done = hit.end
	}
	b.WriteString(text[done:])
	return b.String()
}
