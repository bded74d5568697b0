// Package redact takes secrets out of what gantry writes down: recorded sessions and traces.
//
// Nothing tells a hook which values are secret, so names decide: the value of DEPLOY_TOKEN is one. A value that is
// once known as secret is then taken out wherever else it stands.
package redact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Marker stands in the place of a secret.
const Marker = "***"

var (
	secretName = regexp.MustCompile(`(?i)TOKEN|SECRET|PASSW|PASSPHRASE|PASS$|PWD$|KEY|CRED|AUTH|PRIVATE|COOKIE|SESSION|` +
		`WEBHOOK|DSN|CONN(ECTION)?_?STR|SIGNATURE|JWT|BEARER|CERT|LICENSE|SALT|SAS$|(^|_)PAT$|OTP`)
	plainName = regexp.MustCompile(`(?i)^(OLD)?PWD$|AUTHOR|KEYBOARD|PASSIVE`)
	// userInfo is the part of a URL before the host.
	userInfo = regexp.MustCompile(`://[^/@\s"']+@`)
	// assignment is a variable within a command line or a script.
	assignment = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_-]*)=("[^"]*"|'[^']*'|[^\s"']+)`)
)

// Name says whether the value of a variable or field of this name is to be taken for a secret.
func Name(name string) bool { return secretName.MatchString(name) && !plainName.MatchString(name) }

// shortest is the length from which a secret is also looked for in other texts: "1" or "true" would make them
// unreadable and are no secrets.
const shortest = 8

// Redactor knows secrets. The zero value knows none. It is for one goroutine at a time while it learns, and for
// any number after that.
type Redactor struct {
	// Mask, if it is not nil, takes out what else is known to be secret, of any length.
	Mask   func(text string) string
	values []string
}

// Learn takes note of a secret, and of each of its lines.
func (r *Redactor) Learn(value string) {
	for line := range strings.SplitSeq(value, "\n") {
		for _, secret := range []string{value, strings.TrimSpace(line)} {
			if len(secret) >= shortest && !strings.HasPrefix(secret, "/__w/") && !slices.Contains(r.values, secret) {
				r.values = append(r.values, secret)
			}
		}
	}
	slices.SortFunc(r.values, func(a, b string) int { return len(b) - len(a) }) // the longest first
}

// Text gives text without the known secrets, without passwords in URLs, and without the values of assignments to
// names that look secret.
func (r *Redactor) Text(text string) string {
	for _, secret := range r.values {
		text = strings.ReplaceAll(text, secret, Marker)
	}
	if r.Mask != nil {
		text = r.Mask(text)
	}
	return assignments(userInfo.ReplaceAllString(text, "://"+Marker+"@"))
}

// assignments empties those to names that look secret, also one within the value of another (--env="NAME=value").
func assignments(text string) string {
	return assignment.ReplaceAllStringFunc(text, func(found string) string {
		name, value, _ := strings.Cut(found, "=")
		reference := strings.HasPrefix(strings.Trim(value, `"`), "$") // TOKEN=$(cat file) in a script
		if Name(name) && !reference {
			return name + "=" + Marker
		}
		return name + "=" + assignments(value)
	})
}

// Value gives the value of a variable, or Marker if its name looks secret.
func (r *Redactor) Value(name, value string) string {
	if value != "" && Name(name) {
		return Marker
	}
	return r.Text(value)
}

// LearnJSON takes note of every string in a JSON text whose member name looks secret.
func (r *Redactor) LearnJSON(text []byte) error {
	value, err := decode(text)
	if err != nil {
		return err
	}
	r.walk("", value, func(name, value string) string {
		if Name(name) {
			r.Learn(value)
		}
		return value
	})
	return nil
}

// JSON gives the JSON text without secrets: members whose names look secret have Marker as value. Call LearnJSON
// before, so that a secret is also found where it stands before its name. Strings that harmless, if it is not nil, says
// yes to stay.
func (r *Redactor) JSON(text []byte, harmless func(value string) bool) (json.RawMessage, error) {
	value, err := decode(text)
	if err != nil {
		return nil, err
	}
	clean := func(name, value string) string {
		if harmless != nil && harmless(value) {
			return value
		}
		return r.Value(name, value)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r.walk("", value, clean)); err != nil {
		return nil, fmt.Errorf("writing JSON without secrets: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading JSON to redact: %w", err)
	}
	return value, nil
}

// walk replaces every string by what do makes of it; name is that of the nearest member above.
func (r *Redactor) walk(name string, value any, do func(name, value string) string) any {
	switch value := value.(type) {
	case string:
		return do(name, value)
	case []any:
		for i := range value {
			value[i] = r.walk(name, value[i], do)
		}
	case map[string]any:
		for member := range value {
			value[member] = r.walk(member, value[member], do)
		}
	}
	return value
}
