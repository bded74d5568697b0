package workflow

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
)

// Load reads a workflow file, and the ones that it calls by a local path, from a tree of files whose root is the
// repository's. The findings are sorted by place; with one that is an [Error] the workflow is no good, and is what
// could be read, never nil. The error is about reading the file itself.
func Load(fsys fs.FS, file string) (*Workflow, []Finding, error) {
	l := &loader{fsys: fsys, loaded: map[string]*Workflow{}}
	l.readConfig()
	w, err := l.load(file)
	if err != nil {
		return nil, nil, err
	}
	slices.SortStableFunc(l.findings, compareFindings)
	return w, slices.Compact(l.findings), nil
}

// loader reads a file and those that it calls.
type loader struct {
	fsys     fs.FS
	config   *actionlint.Config // of .github/actionlint.yaml; may be nil
	findings []Finding
	open     []string // the files that are being read, the caller first
	loaded   map[string]*Workflow
}

func (l *loader) load(file string) (*Workflow, error) {
	if w := l.loaded[file]; w != nil {
		return w, nil
	}
	w, err := l.read(file)
	l.loaded[file] = w
	return w, err
}

func (l *loader) read(file string) (*Workflow, error) {
	data, err := fs.ReadFile(l.fsys, file)
	if err != nil {
		return nil, fmt.Errorf("reading workflow: %w", err)
	}
	l.open = append(l.open, file)
	defer func() { l.open = l.open[:len(l.open)-1] }()
	doc, err := parseDocument(file, data)
	r := newReader(doc)
	if err != nil {
		r.documentError(err)
		l.findings = append(l.findings, r.findings...)
		return &Workflow{Name: file, File: file}, nil
	}
	w := r.workflow()
	errs := l.wanted(file, l.lint(r, w, data))
	texts := r.checkTexts(w)
	r.checkGraph(w)
	r.checkMatrices(w)
	l.findings = append(l.findings, merge(r, errs, texts)...)
	for _, job := range w.Jobs {
		if job.Call != nil {
			l.call(r, job)
		}
	}
	return w, nil
}

// documentError reports why a file could not be parsed.
func (r *reader) documentError(err error) {
	pos := Pos{}
	var placed *placedError
	if errors.As(err, &placed) {
		pos = placed.pos
	}
	r.report(pos, Error, kindSyntax, "%s", err)
}

// lint asks actionlint.
func (l *loader) lint(r *reader, w *Workflow, data []byte) []*actionlint.Error {
	lint, err := lintParse(data)
	if err == nil && lint.workflow != nil {
		lint.teach(w)
		err = lint.lintRules(l.config)
	}
	if err != nil {
		r.report(Pos{}, Error, kindSyntax, "%s", err)
	}
	return lint.errors
}

// checkTexts looks at every expression of a workflow. It gives back the texts, by the lines where they begin.
func (r *reader) checkTexts(w *Workflow) map[int][]Text {
	texts := map[int][]Text{}
	w.visitTexts(func(where place, t Text) {
		r.checkText(where, t)
		texts[t.Pos.Line] = append(texts[t.Pos.Line], t)
	})
	return texts
}

// spot is a line with a kind of finding.
type spot struct {
	line int
	kind string
}

// merge joins what the reader and what actionlint have found. Where both speak of one line, actionlint's word counts
// about syntax, and ours about expressions and actions, for it says what GitHub refuses.
func merge(r *reader, errs []*actionlint.Error, texts map[int][]Text) []Finding {
	ours, theirs := map[spot]bool{}, map[spot]bool{}
	for _, f := range r.findings {
		ours[spot{f.Pos.Line, f.Kind}] = true
	}
	var all []Finding
	for _, e := range errs {
		pos := Pos{max(e.Line, 1), max(e.Column, 1)}
		if e.Kind == kindExpression {
			pos = relocate(pos, texts[pos.Line])
		}
		switch {
		case e.Kind == kindSyntax && r.accepted[pos]:
		case e.Kind == kindExpression && ours[spot{pos.Line, kindExpression}]:
		case (e.Kind == "action" || e.Kind == kindExpression) && ours[spot{pos.Line, kindSyntax}]:
		default:
			theirs[spot{pos.Line, e.Kind}] = true
			all = append(all, Finding{File: r.file, Pos: pos, Severity: severityOf(e), Kind: e.Kind,
				Message: e.Message, Source: r.line(pos.Line)})
		}
	}
	for _, f := range r.findings {
		if f.Kind != kindSyntax || !theirs[spot{f.Pos.Line, kindSyntax}] {
			all = append(all, f)
		}
	}
	return all
}

// relocate finds the place that actionlint means: in a text of several lines it counts on in the first.
func relocate(pos Pos, texts []Text) Pos {
	for _, t := range texts {
		offset := pos.Col - t.Pos.Col
		if strings.Contains(t.Raw, "\n") && offset > 0 && offset <= len(t.Raw) {
			return t.At(offset)
		}
	}
	return pos
}

// severityOf says which of actionlint's rules speak of what GitHub refuses.
func severityOf(e *actionlint.Error) Severity {
	switch e.Kind {
	case kindSyntax, "id":
		return Error
	}
	return Warning
}

// readConfig reads actionlint's own configuration, if the repository has one.
func (l *loader) readConfig() {
	for _, name := range []string{"actionlint.yaml", "actionlint.yml"} {
		file := path.Join(".github", name)
		data, err := fs.ReadFile(l.fsys, file)
		if err != nil {
			continue
		}
		if l.config, err = actionlint.ParseConfig(data); err != nil {
			l.config = nil
			l.findings = append(l.findings, Finding{File: file, Severity: Warning, Kind: kindConfig, Message: err.Error()})
		}
		return
	}
}

// wanted leaves out the warnings that the configuration says to ignore.
func (l *loader) wanted(file string, errs []*actionlint.Error) []*actionlint.Error {
	paths := l.config.PathConfigs(file)
	return slices.DeleteFunc(errs, func(e *actionlint.Error) bool {
		return severityOf(e) == Warning && slices.ContainsFunc(paths, func(c actionlint.PathConfig) bool {
			return c.Ignore.Match(e)
		})
	})
}

func lower(s string) string { return strings.ToLower(s) }
