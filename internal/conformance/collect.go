package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
	"sync"
)

// keep is how much of an output is kept: of longer ones the first and the last half.
const keep = 1 << 20

// collector takes an output: it counts and sums up everything and keeps the ends.
type collector struct {
	mu         sync.Mutex
	head, tail []byte
	size       int64
	sum        hash.Hash
}

func newCollector() *collector { return &collector{sum: sha256.New()} }

// Write never fails.
func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size += int64(len(p))
	c.sum.Write(p)
	rest := p
	if room := keep/2 - len(c.head); room > 0 {
		n := min(room, len(rest))
		c.head = append(c.head, rest[:n]...)
		rest = rest[n:]
	}
	c.tail = append(c.tail, rest...)
	if len(c.tail) > keep {
		c.tail = slices.Clone(c.tail[len(c.tail)-keep/2:])
	}
	return len(p), nil
}

// has says whether a text has been printed already.
func (c *collector) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(append(slices.Clone(c.head), c.tail...), []byte(text))
}

// printed is what came out, once the call has ended.
type printed struct {
	Text   string
	Size   int64
	SHA256 string
}

func (c *collector) result() printed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return printed{string(c.head) + string(c.tail), c.size, hex.EncodeToString(c.sum.Sum(nil))}
}

// then joins two outputs.
func (p printed) then(next printed) printed {
	sum := sha256.Sum256([]byte(p.Text + next.Text))
	return printed{p.Text + next.Text, p.Size + next.Size, hex.EncodeToString(sum[:])}
}

// plain is a whole output.
func plain(text string) printed { return printed{}.then(printed{Text: text, Size: int64(len(text))}) }

// excerpt shortens a text for a report.
func excerpt(text string) string {
	const limit = 1200
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit/2], "") + "\n[…]\n" + strings.ToValidUTF8(text[len(text)-limit/2:], "")
}
