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
	since      []byte // begins anew after this; nil once it has come
	last       []byte // of what has come so far, in which since may begin
	head, tail []byte
	size       int64
	sum        hash.Hash
}

// newCollector makes one that counts from a text on; "" is the beginning.
func newCollector(since string) *collector {
	return &collector{sum: sha256.New(), since: []byte(since)}
}

// Write never fails.
func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.since) > 0 {
		c.last = append(c.last, p...)
		if i := bytes.Index(c.last, c.since); i >= 0 {
			rest := c.last[i+len(c.since):]
			c.since, c.last, c.head, c.tail, c.size = nil, nil, nil, nil, 0
			c.sum.Reset()
			c.add(rest)
			return len(p), nil
		}
		c.last = slices.Clone(c.last[max(0, len(c.last)-len(c.since)+1):])
	}
	c.add(p)
	return len(p), nil
}

// add takes what counts. c.mu is held.
func (c *collector) add(p []byte) {
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
