package policy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// BaseImages returns the images that a Dockerfile names: FROM, COPY --from, RUN --mount=from= and the syntax
// directive. Build arguments have their defaults; a name with one that has none is returned as written, and no
// pattern of policy.images is likely to match it. Stages of the file itself and scratch are left out.
// It is generous: a line in a here-document that looks like FROM counts.
func BaseImages(dockerfile string) []string {
	d := dockerfileReader{args: map[string]string{}}
	for _, line := range instructions(dockerfile) {
		d.instruction(strings.Fields(line))
	}
	return d.images
}

type dockerfileReader struct {
	args   map[string]string
	stages []string
	froms  int
	images []string
}

var syntaxDirective = regexp.MustCompile(`(?i)^#\s*syntax\s*=\s*(\S+)`)

// instructions joins continued lines and drops comments, but for the directive that names a frontend's image.
func instructions(text string) []string {
	var lines []string
	continued := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := syntaxDirective.FindStringSubmatch(line); m != nil && len(lines) == 0 {
			lines = append(lines, "SYNTAX "+m[1])
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		body := strings.TrimRight(line, "\\`")
		if continued {
			lines[len(lines)-1] += " " + body
		} else {
			lines = append(lines, body)
		}
		continued = body != line
	}
	return lines
}

func (d *dockerfileReader) instruction(words []string) {
	if len(words) < 2 {
		return
	}
	switch strings.ToUpper(words[0]) {
	case "ARG":
		d.arguments(words[1:])
	case "FROM":
		d.from(words[1:])
	case "SYNTAX":
		d.image(words[1])
	case "ONBUILD":
		d.instruction(words[1:])
	case "COPY", "RUN", "ADD":
		d.sources(words[1:])
	}
}

func (d *dockerfileReader) arguments(words []string) {
	for _, word := range words {
		if name, value, ok := strings.Cut(word, "="); ok && d.froms == 0 {
			d.args[name] = d.expand(strings.Trim(value, `"'`))
		}
	}
}

func (d *dockerfileReader) from(words []string) {
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		words = words[1:]
	}
	if len(words) == 0 {
		return
	}
	d.image(words[0])
	d.froms++
	if len(words) == 3 && strings.EqualFold(words[1], "as") {
		d.stages = append(d.stages, strings.ToLower(words[2]))
	}
}

var mountFrom = regexp.MustCompile(`(?:^|,)from=([^,]+)`)

func (d *dockerfileReader) sources(words []string) {
	for _, word := range words {
		if image, ok := strings.CutPrefix(word, "--from="); ok {
			d.image(image)
		}
		if mount, ok := strings.CutPrefix(word, "--mount="); ok {
			if m := mountFrom.FindStringSubmatch(mount); m != nil {
				d.image(m[1])
			}
		}
	}
}

func (d *dockerfileReader) image(name string) {
	name = d.expand(strings.Trim(name, `"'`))
	_, err := strconv.Atoi(name)
	if err == nil || name == "scratch" || slices.Contains(d.stages, strings.ToLower(name)) || slices.Contains(d.images, name) {
		return
	}
	d.images = append(d.images, name)
}

var variable = regexp.MustCompile(`\$(?:\{(\w+)(?:(:?[-+])([^}]*))?\}|(\w+))`)

// expand puts arguments into a word: $A, ${A}, ${A:-default}, ${A:+other}.
func (d *dockerfileReader) expand(word string) string {
	return variable.ReplaceAllStringFunc(word, func(match string) string {
		m := variable.FindStringSubmatch(match)
		value, known := d.args[m[1]+m[4]]
		known = known && value != ""
		switch {
		case strings.HasSuffix(m[2], "-") && !known:
			return m[3]
		case strings.HasSuffix(m[2], "+") && known:
			return m[3]
		case strings.HasSuffix(m[2], "+"):
			return ""
		case !known:
			return match
		}
		return value
	})
}
