package workflow

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/gantry-ci/gantry/internal/expr"
)

// MaxJobs is how many jobs a matrix may give.
const MaxJobs = 256

// Combination is one job of a matrix.
type Combination struct {
	Values *expr.Map // the context matrix
	// Labels are the values that tell it from others, as GitHub writes them behind the job's name: all that are not
	// objects or lists, those inside of them too; not what an include has added to a combination.
	Labels []string
}

// Name gives the display name of a job: "test (linux, 22)", cut at 100 characters as GitHub does.
func (c Combination) Name(job string) string {
	if len(c.Labels) > 0 {
		job = fmt.Sprintf("%s (%s)", job, strings.Join(c.Labels, ", "))
	}
	const limit = 100
	if units := utf16.Encode([]rune(job)); len(units) > limit {
		return string(utf16.Decode(units[:limit-3])) + "..."
	}
	return job
}

// checkMatrices expands those that are known before a run.
func (r *reader) checkMatrices(w *Workflow) {
	for _, job := range w.Jobs {
		if job.Strategy.Matrix == nil || job.Strategy.Matrix.Tree.HasExpr() {
			continue
		}
		tree := job.Strategy.Matrix.Tree
		value, err := tree.Resolve(nil)
		if err == nil {
			_, err = Expand(value)
		}
		if err != nil {
			r.report(tree.Pos, Error, kindSyntax, "%s", err)
		}
	}
}

// vector is a key of the matrix with its values.
type vector struct {
	name   string
	values []expr.Value
}

// Expand gives the combinations of an evaluated strategy.matrix in GitHub's order: the product of the lists, the
// last one changing first; less what exclude matches; with what include adds to those that it matches, and at the
// end the includes that match none. The error is for the author of the workflow.
func Expand(matrix expr.Value) ([]Combination, error) {
	object, ok := matrix.(expr.Object)
	if !ok {
		return nil, errors.New("the matrix is no object: keys with lists of values are expected")
	}
	plan, err := planMatrix(object)
	if err != nil {
		return nil, err
	}
	var all []Combination
	for _, values := range product(plan.vectors) {
		if plan.excluded(values) {
			continue
		}
		all = append(all, plan.included(values))
	}
	for _, include := range plan.includes {
		if !include.matched {
			all = append(all, combination(include.whole))
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the matrix gives no job at all: everything is excluded")
	}
	if len(all) > MaxJobs {
		return nil, tooManyJobs(len(all))
	}
	return all, nil
}

func tooManyJobs(n int) error {
	return fmt.Errorf("the matrix gives %d jobs, at most %d are allowed", n, MaxJobs)
}

// matrixPlan is a matrix taken apart.
type matrixPlan struct {
	vectors  []vector
	excludes []expr.Object
	includes []*include
}

// include is an entry of include: what it wants to match, and what it adds.
type include struct {
	filter, extra, whole *expr.Map
	matched              bool
}

func planMatrix(object expr.Object) (*matrixPlan, error) {
	plan := &matrixPlan{}
	var excludes, includes []expr.Object
	for _, name := range object.Names() {
		value, _ := object.Get(name)
		var err error
		switch name {
		case "include":
			includes, err = objects(name, value)
		case "exclude":
			excludes, err = objects(name, value)
		default:
			err = plan.addVector(name, value)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(plan.vectors) == 0 && len(includes) == 0 {
		return nil, errors.New("the matrix has no values: it needs a key with a list, or include")
	}
	if n := plan.size(); n > maxProduct {
		return nil, tooManyJobs(n)
	}
	plan.setIncludes(includes)
	return plan, plan.setExcludes(excludes)
}

func (p *matrixPlan) addVector(name string, value expr.Value) error {
	list, ok := value.(*expr.Array)
	if !ok {
		return fmt.Errorf("the matrix has no list of values for %q", name)
	}
	if len(list.Items) == 0 {
		return fmt.Errorf("the list of the matrix for %q is empty", name)
	}
	p.vectors = append(p.vectors, vector{name, list.Items})
	return nil
}

func (p *matrixPlan) hasVector(name string) bool {
	for _, v := range p.vectors {
		if strings.EqualFold(v.name, name) {
			return true
		}
	}
	return false
}

// maxProduct bounds what is looked at before excludes are applied.
const maxProduct = 100_000

// size counts the product, and stops counting above the bound.
func (p *matrixPlan) size() int {
	if len(p.vectors) == 0 {
		return 0
	}
	n := 1
	for _, v := range p.vectors {
		if n *= len(v.values); n > maxProduct {
			break
		}
	}
	return n
}

// objects reads include or exclude.
func objects(name string, value expr.Value) ([]expr.Object, error) {
	list, ok := value.(*expr.Array)
	if !ok {
		return nil, fmt.Errorf("%s of the matrix is no list", name)
	}
	var all []expr.Object
	for i, item := range list.Items {
		object, ok := item.(expr.Object)
		if !ok || len(object.Names()) == 0 {
			return nil, fmt.Errorf("entry %d of the matrix' %s has no keys with values", i+1, name)
		}
		all = append(all, object)
	}
	return all, nil
}

func (p *matrixPlan) setExcludes(excludes []expr.Object) error {
	for i, exclude := range excludes {
		for _, name := range exclude.Names() {
			if !p.hasVector(name) {
				return fmt.Errorf("entry %d of the matrix' exclude names %q, which is no key of the matrix", i+1, name)
			}
		}
	}
	p.excludes = excludes
	return nil
}

func (p *matrixPlan) setIncludes(includes []expr.Object) {
	for _, object := range includes {
		entry := &include{filter: expr.NewMap(), extra: expr.NewMap(), whole: expr.NewMap()}
		for _, name := range object.Names() {
			value, _ := object.Get(name)
			if p.hasVector(name) {
				entry.filter.Set(name, value)
			} else {
				entry.extra.Set(name, value)
			}
		}
		copyInto(entry.whole, entry.filter)
		copyInto(entry.whole, entry.extra)
		p.includes = append(p.includes, entry)
	}
}

func copyInto(to *expr.Map, from expr.Object) {
	for _, name := range from.Names() {
		value, _ := from.Get(name)
		to.Set(name, value)
	}
}

// product gives all combinations of values, the last vector changing first.
func product(vectors []vector) []*expr.Map {
	if len(vectors) == 0 {
		return nil
	}
	all := []*expr.Map{expr.NewMap()}
	for _, v := range vectors {
		var next []*expr.Map
		for _, values := range all {
			for _, value := range v.values {
				longer := expr.NewMap()
				copyInto(longer, values)
				longer.Set(v.name, value)
				next = append(next, longer)
			}
		}
		all = next
	}
	return all
}

func (p *matrixPlan) excluded(values *expr.Map) bool {
	for _, exclude := range p.excludes {
		if matches(exclude, values) {
			return true
		}
	}
	return false
}

// included adds the extra values of each include that matches. Only values of the lists are looked at, so one
// include cannot match what another has added; of two that add the same key the later one wins.
func (p *matrixPlan) included(values *expr.Map) Combination {
	c := combination(values)
	extra := expr.NewMap()
	for _, entry := range p.includes {
		if matches(entry.filter, values) {
			entry.matched = true
			copyInto(extra, entry.extra)
		}
	}
	copyInto(c.Values, extra)
	return c
}

func combination(values *expr.Map) Combination {
	return Combination{Values: values, Labels: labelsOf(nil, values)}
}

// labelsOf collects what is written behind a job's name.
func labelsOf(labels []string, value expr.Value) []string {
	switch v := value.(type) {
	case expr.Object:
		for _, name := range v.Names() {
			member, _ := v.Get(name)
			labels = labelsOf(labels, member)
		}
	case *expr.Array:
		for _, item := range v.Items {
			labels = labelsOf(labels, item)
		}
	default:
		if text := expr.Text(v); text != "" {
			labels = append(labels, text)
		}
	}
	return labels
}

// matches compares every leaf of the filter with what is at the same place of the value, as the operator == does.
// Members that the filter does not have do not matter.
func matches(filter, value expr.Value) bool {
	switch f := filter.(type) {
	case expr.Object:
		object, _ := value.(expr.Object)
		for _, name := range f.Names() {
			want, _ := f.Get(name)
			if !matches(want, member(object, name)) {
				return false
			}
		}
		return true
	case *expr.Array:
		list, _ := value.(*expr.Array)
		for i, want := range f.Items {
			if !matches(want, itemAt(list, i)) {
				return false
			}
		}
		return true
	}
	return expr.Equal(filter, value)
}

func member(object expr.Object, name string) expr.Value {
	if object == nil {
		return nil
	}
	value, _ := object.Get(name)
	return value
}

func itemAt(list *expr.Array, i int) expr.Value {
	if list == nil || i >= len(list.Items) {
		return nil
	}
	return list.Items[i]
}
