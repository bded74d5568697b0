package workflow

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// scalarValue gives the value that GitHub gives a scalar: nil, bool, float64 or string, by the core schema of
// YAML 1.2. It differs from what Go's parser thinks: 0b1 and 1_000 are strings, 0777 is a decimal number.
func scalarValue(n *yaml.Node) (any, error) {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		return taggedValue(n)
	case n.Style&quoted != 0:
		return n.Value, nil
	}
	if value, ok := plainValue(n.Value); ok {
		return value, nil
	}
	return n.Value, nil
}

func taggedValue(n *yaml.Node) (any, error) {
	tag := n.ShortTag()
	if tag == "!!str" {
		return n.Value, nil
	}
	value, ok := plainValue(n.Value)
	switch value.(type) {
	case nil:
		ok = ok && tag == "!!null"
	case bool:
		ok = ok && tag == "!!bool"
	case float64:
		ok = ok && (tag == "!!int" || tag == "!!float")
	}
	if !ok {
		return nil, fmt.Errorf("%q is no value for the tag %s", n.Value, tag)
	}
	return value, nil
}

var (
	decimal = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	based   = regexp.MustCompile(`^0(x[0-9a-fA-F]+|o[0-7]+)$`)
)

// plainValue is the value of a scalar without quotes that is not a string.
func plainValue(s string) (any, bool) {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nil, true
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	case ".nan", ".NaN", ".NAN":
		return math.NaN(), true
	}
	switch strings.TrimPrefix(s, "+") {
	case ".inf", ".Inf", ".INF":
		return math.Inf(1), true
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1), true
	}
	if decimal.MatchString(s) {
		f, err := strconv.ParseFloat(s, 64)
		return f, err == nil
	}
	if based.MatchString(s) {
		i, err := strconv.ParseInt(s, 0, 32)
		return float64(i), err == nil
	}
	return nil, false
}
