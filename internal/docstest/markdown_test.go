// Package docstest holds the documentation to what the program does: examples are loaded or run, and commands, flags,
// keys, codes and links are looked up. It has tests only.
package docstest

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is a Markdown file of the project.
type page struct {
	path   string // relative to the project's folder
	text   string
	prose  string // without blocks
	blocks []block
}

// block is a fenced block.
type block struct {
	page   string
	line   int    // of its first line, from 1
	lang   string // "sh"
	kind   string // what follows the language: "workflow", "engine"
	notRun string // the reason in a comment before it: <!-- not run: … -->
	text   string
}

// pages reads README, CONTRIBUTING and everything below docs.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	for _, path := range markdownFiles(t) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(path, string(text)))
	}
	return all
}

const root = "../.."

func markdownFiles(t *testing.T) []string {
	t.Helper()
	files := []string{"README.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			rel, _ := filepath.Rel(root, path) // both are relative
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var notRun = regexp.MustCompile(`^<!-- not run: (.+) -->$`)

// parse splits a page into prose and blocks.
func parse(path, text string) page {
	p := page{path: path, text: text}
	var prose strings.Builder
	reason, number := "", 0
	var open *block
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		number++
		line := lines.Text()
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case open != nil && isFence:
			p.blocks = append(p.blocks, *open)
			open, reason = nil, ""
		case open != nil:
			open.text += line + "\n"
		case isFence:
			lang, kind, _ := strings.Cut(fence, " ")
			open = &block{page: path, line: number + 1, lang: lang, kind: kind, notRun: reason}
		default:
			prose.WriteString(line + "\n")
			if m := notRun.FindStringSubmatch(line); m != nil {
				reason = m[1]
			} else if strings.TrimSpace(line) != "" {
				reason = ""
			}
		}
	}
	p.prose = prose.String()
	return p
}

// blocks are the blocks of a language on all pages.
func blocks(t *testing.T, lang string) []block {
	t.Helper()
	var found []block
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang == lang {
				found = append(found, b)
			}
		}
	}
	return found
}

// inlineCode are the `words` of a page's prose.
func (p page) inlineCode() []string {
	var all []string
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(p.prose, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestParse(t *testing.T) {
	p := parse("x.md", "A `b c`.\n\n<!-- not run: no reason -->\n```sh\nls\n```\n\n```yaml workflow\na: 1\n```\n")
	want := []block{
		{page: "x.md", line: 5, lang: "sh", notRun: "no reason", text: "ls\n"},
		{page: "x.md", line: 9, lang: "yaml", kind: "workflow", text: "a: 1\n"},
	}
	if !slices.Equal(p.blocks, want) {
		t.Errorf("%+v", p.blocks)
	}
	if got := p.inlineCode(); !slices.Equal(got, []string{"b c"}) {
		t.Errorf("%q", got)
	}
}

// Every block says what it is, so that none escapes its test.
func TestBlocksSayWhatTheyAre(t *testing.T) {
	known := []string{"yaml", "yaml gantry.yaml", "yaml workflow", "yaml case", "yaml values",
		"yaml template", "sh", "sh engine", "text", "ini", "json", ""}
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if !slices.Contains(known, strings.TrimSpace(b.lang+" "+b.kind)) {
				t.Errorf("%s:%d: a block of kind %q %q; known are %q", b.page, b.line, b.lang, b.kind, known)
			}
		}
	}
}
