package hook

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// field is a valid JSON value, or nothing if it was absent, and its path for messages.
type field struct {
	path string
	raw  json.RawMessage
}

func (f field) null() bool { return len(f.raw) == 0 || f.raw[0] == 'n' }

// kind describes the value without telling it.
func (f field) kind() string {
	if f.null() {
		return "null"
	}
	switch f.raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}

func (f field) member(name string, raw json.RawMessage) field {
	return field{f.path + "." + name, raw}
}

// decoder converts fields. After a first failure it goes on with zero values, so that a struct can be filled in one
// expression; err is then the first failure.
type decoder struct{ err error }

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) mismatch(f field, want string) {
	d.fail(&InputError{
		Field:   f.path,
		Problem: fmt.Sprintf("%s must be %s, not %s", f.path, want, f.kind()),
	})
}

// into unmarshals a value whose kind has been checked already.
func (d *decoder) into(f field, target any, want string) {
	if err := json.Unmarshal(f.raw, target); err != nil {
		d.fail(&InputError{Field: f.path, Problem: fmt.Sprintf("%s must be %s", f.path, want)})
	}
}

// text reads a string; "" for null.
func (d *decoder) text(f field) string {
	var s string
	switch {
	case f.null():
	case f.raw[0] == '"':
		d.into(f, &s, "a string")
	default:
		d.mismatch(f, "a string")
	}
	return s
}

// flag reads a boolean; false for null.
func (d *decoder) flag(f field) bool {
	if !f.null() && f.kind() != "a boolean" {
		d.mismatch(f, "true or false")
	}
	return !f.null() && f.raw[0] == 't'
}

// object returns the text of an object; nil for null.
func (d *decoder) object(f field) json.RawMessage {
	if f.null() {
		return nil
	}
	if f.raw[0] != '{' {
		d.mismatch(f, "an object")
		return nil
	}
	return f.raw
}

// items splits an array; null has none.
func (d *decoder) items(f field) []field {
	if f.null() {
		return nil
	}
	if f.raw[0] != '[' {
		d.mismatch(f, "an array")
		return nil
	}
	var raws []json.RawMessage
	d.into(f, &raws, "an array")
	items := make([]field, len(raws))
	for i, raw := range raws {
		items[i] = field{f.path + "[" + strconv.Itoa(i) + "]", raw}
	}
	return items
}

// texts reads an array of strings; a null among them is a mistake.
func (d *decoder) texts(f field) []string {
	texts := []string{}
	for _, item := range d.items(f) {
		if item.null() {
			d.mismatch(item, "a string")
		}
		texts = append(texts, d.text(item))
	}
	return texts
}

// textMap reads an object of strings. Numbers and booleans become their JSON text, null becomes "".
func (d *decoder) textMap(f field) map[string]string {
	texts := map[string]string{}
	object := d.object(f)
	if object == nil || json.Unmarshal(object, &texts) == nil {
		return texts
	}
	var raws map[string]json.RawMessage
	d.into(f, &raws, "an object")
	for _, name := range slices.Sorted(maps.Keys(raws)) {
		texts[name] = d.scalar(f.member(name, raws[name]))
	}
	return texts
}

// scalar reads a string, number or boolean as text; "" for null.
func (d *decoder) scalar(f field) string {
	switch f.kind() {
	case "a number", "a boolean":
		return string(f.raw)
	}
	return d.text(f)
}
