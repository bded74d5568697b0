package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxJSONDepth is how deep arrays and objects may stand in each other.
const maxJSONDepth = 100

var (
	errJSONDepth = fmt.Errorf("arrays and objects are nested more than %d levels deep", maxJSONDepth)
	errNoValue   = errors.New("a value that expressions do not know is in it")
)

// DecodeJSON makes a value from JSON. Members keep their order; of two whose names differ at most in case the first
// gives name and place, and the last the value. Numbers lose what float64 cannot hold.
func DecodeJSON(text string) (Value, error) {
	return decodeJSON(text, &budget{left: math.MaxInt})
}

// EncodeJSON writes a value as toJSON does: in lines, indented by two spaces, with nothing escaped but what JSON and
// JavaScript require. NaN and the infinities are written as these words.
func EncodeJSON(v Value) (string, error) {
	return encodeJSON(v, &output{budget: &budget{left: math.MaxInt}})
}

func toJSON(e *evaluation, args []Value) (Value, error) {
	return encodeJSON(args[0], e.output())
}

func fromJSON(e *evaluation, args []Value) (Value, error) {
	return decodeJSON(Text(args[0]), &e.budget)
}

func decodeJSON(text string, b *budget) (Value, error) {
	var checked json.RawMessage
	var syntax *json.SyntaxError
	switch err := json.Unmarshal([]byte(text), &checked); {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("the text is empty, not JSON")
	case errors.As(err, &syntax): // its own text shows a character of what may be a secret
		return nil, fmt.Errorf("the text is not JSON: byte %d cannot stand there, or the text ends too early", syntax.Offset)
	case err != nil:
		return nil, errors.New("the text is not JSON")
	}
	d := &jsonReader{json.NewDecoder(strings.NewReader(text)), b}
	d.UseNumber()
	return d.value(0)
}

// jsonReader makes values from the tokens of valid JSON.
type jsonReader struct {
	*json.Decoder
	budget *budget
}

func (r *jsonReader) value(depth int) (Value, error) {
	t, err := r.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if depth == maxJSONDepth {
			return nil, errJSONDepth
		}
		if t == '[' {
			return r.array(depth + 1)
		}
		return r.object(depth + 1)
	case json.Number:
		f, _ := strconv.ParseFloat(t.String(), 64) // out of range is an infinity
		return f, r.budget.spend(valueSize)
	case string:
		return t, r.budget.spend(valueSize + len(t))
	}
	return t, r.budget.spend(valueSize) // a boolean or nil
}

func (r *jsonReader) array(depth int) (Value, error) {
	a := &Array{}
	for r.More() {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		a.Items = append(a.Items, v)
	}
	return a, r.end()
}

func (r *jsonReader) object(depth int) (Value, error) {
	m := NewMap()
	for r.More() {
		name, err := r.Token()
		if err != nil {
			return nil, err
		}
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		m.Set(name.(string), v) // a name is a string in valid JSON
	}
	return m, r.end()
}

// end takes the closing bracket.
func (r *jsonReader) end() error {
	if _, err := r.Token(); err != nil {
		return err
	}
	return r.budget.spend(2 * valueSize)
}

func encodeJSON(v Value, out *output) (string, error) {
	out.json(v, 0)
	return out.result()
}

// json writes a value whose lines are indented by depth levels.
func (o *output) json(v Value, depth int) {
	switch v := v.(type) {
	case nil:
		o.write("null")
	case bool, float64:
		o.write(Text(v))
	case string:
		o.jsonString(v)
	case *Array:
		o.jsonList("[", "]", len(v.Items), depth, func(i int) { o.json(v.Items[i], depth+1) })
	case Object:
		o.jsonObject(v, depth)
	default:
		o.fail(errNoValue)
	}
}

func (o *output) jsonObject(v Object, depth int) {
	names := v.Names()
	o.jsonList("{", "}", len(names), depth, func(i int) {
		member, _ := v.Get(names[i])
		o.jsonString(names[i])
		o.write(": ")
		o.json(member, depth+1)
	})
}

// jsonList writes count lines between two brackets; line writes one without its indentation and comma.
func (o *output) jsonList(opening, closing string, count, depth int, line func(i int)) {
	if count == 0 {
		o.write(opening + closing)
		return
	}
	if depth >= maxJSONDepth {
		o.fail(errJSONDepth)
	}
	o.write(opening)
	for i := 0; i < count && o.err == nil; i++ {
		if i > 0 {
			o.write(",")
		}
		o.write("\n" + strings.Repeat("  ", depth+1))
		line(i)
	}
	o.write("\n" + strings.Repeat("  ", depth) + closing)
}

func (o *output) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *output) jsonString(s string) {
	o.write(`"`)
	for s != "" && o.err == nil {
		i := strings.IndexFunc(s, needsEscape)
		if i < 0 {
			o.write(s)
			break
		}
		o.write(s[:i])
		r := []rune(s[i:min(len(s), i+4)])[0]
		o.write(escape(r))
		s = s[i+len(string(r)):]
	}
	o.write(`"`)
}

// needsEscape says which characters the runner's JSON writer escapes: what JSON requires, and what ends a line.
func needsEscape(r rune) bool {
	return r < 0x20 || r == '"' || r == '\\' || r == 0x85 || r == 0x2028 || r == 0x2029
}

func escape(r rune) string {
	switch r {
	case '"', '\\':
		return `\` + string(r)
	case '\b':
		return `\b`
	case '\t':
		return `\t`
	case '\n':
		return `\n`
	case '\f':
		return `\f`
	case '\r':
		return `\r`
	}
	return fmt.Sprintf(`\u%04x`, r)
}
