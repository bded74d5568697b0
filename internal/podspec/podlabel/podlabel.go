// Package podlabel makes labels and annotations of text that was not written for Kubernetes. It is pure.
package podlabel

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Limits of Kubernetes, in bytes.
const (
	maxName   = validation.LabelValueMaxLength // also of a key's name, behind the "/"
	maxPrefix = validation.DNS1123SubdomainMaxLength
)

// Value makes a label's value: what may not stand in one becomes "-", and what is too long is cut off. A value that is
// allowed stays as it is; one of which nothing is left becomes "".
func Value(text string) string { return word(text, maxName, valueRune) }

// Key makes a label's key of a word with or without a prefix ("example.com/team"); "" if nothing of it is left.
func Key(text string) string {
	prefix, name, has := strings.Cut(text, "/")
	if !has {
		return word(text, maxName, valueRune)
	}
	prefix, name = subdomain(prefix), word(name, maxName, valueRune)
	if prefix == "" || name == "" {
		return word(prefix+name, maxName, valueRune)
	}
	return prefix + "/" + name
}

// subdomain makes a DNS name of a key's prefix, each label on its own.
func subdomain(text string) string {
	var labels []string
	for label := range strings.SplitSeq(strings.ToLower(text), ".") {
		if label = word(label, validation.DNS1123LabelMaxLength, hostRune); label != "" {
			labels = append(labels, label)
		}
	}
	name := strings.Join(labels, ".")
	return strings.Trim(name[:min(len(name), maxPrefix)], "-.")
}

// word keeps the characters that are allowed, writes "-" for the others, and trims what may not begin or end a word.
func word(text string, limit int, allowed func(rune) bool) string {
	text = strings.Map(func(r rune) rune {
		if allowed(r) {
			return r
		}
		return '-'
	}, text)
	text = strings.TrimLeft(text, "-_.")
	return strings.TrimRight(text[:min(len(text), limit)], "-_.")
}

func valueRune(r rune) bool { return hostRune(r) || r >= 'A' && r <= 'Z' || r == '_' || r == '.' }

func hostRune(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }

// Reserved says that a key is Kubernetes', the runner controller's or gantry's own: a workflow may not set it.
func Reserved(key string) bool {
	if key == "runner-pod" {
		return true
	}
	prefix, _, has := strings.Cut(key, "/")
	if !has {
		return false
	}
	for _, owner := range []string{"kubernetes.io", "k8s.io", "io.gantry", "actions.github.com"} {
		if prefix == owner || strings.HasSuffix(prefix, "."+owner) {
			return true
		}
	}
	return false
}

// OfJob are the labels that kubernetes.labels asks for, under gantry's prefix: choice has "repository", "workflow", "run"
// or "job", and lookup finds the runner's variables (GITHUB_REPOSITORY …). What is not known is left out. The job's is
// io.gantry/job-name: io.gantry/job is the number by which gantry finds what belongs to a job.
func OfJob(choice []string, lookup func(name string) string) map[string]string {
	facts := map[string]struct{ key, variable string }{
		"repository": {"repository", "GITHUB_REPOSITORY"}, "workflow": {"workflow", "GITHUB_WORKFLOW"},
		"run": {"run", "GITHUB_RUN_ID"}, "job": {"job-name", "GITHUB_JOB"},
	}
	labels := map[string]string{}
	for _, name := range choice {
		fact := facts[name]
		if value := Value(lookup(fact.variable)); value != "" {
			labels["io.gantry/"+fact.key] = value
		}
	}
	return labels
}
