package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Merging works on the trees that JSON is made of, so that what a template leaves out is told from what it sets to
// zero. Maps are merged key by key; a list is replaced, unless a rule says how two lists of that name become one.

// rule makes one list of two. Neither is changed.
type rule func(base, over []any) []any

// rules are by the name of the list's key.
func rules() map[string]rule {
	return map[string]rule{
		"env":               byKey(replace, "name"),
		"ports":             byKey(replace, "containerPort", "protocol"),
		"volumeMounts":      byKey(replace, "mountPath"),
		"volumeDevices":     byKey(replace, "devicePath"),
		"volumes":           byKey(replace, "name"),
		"imagePullSecrets":  byKey(replace, "name"),
		"sysctls":           byKey(replace, "name"),
		"options":           byKey(replace, "name"), // of dnsConfig
		"resourceClaims":    byKey(replace, "name"),
		"claims":            byKey(replace, "name"),
		"schedulingGates":   byKey(replace, "name"),
		"readinessGates":    byKey(replace, "conditionType"),
		"hostAliases":       byKey(merge, "ip"),
		"nodeSelectorTerms": everyPair,

		"envFrom": union, "hostnames": union, "tolerations": union, "topologySpreadConstraints": union,
		"supplementalGroups": union, "add": union, "drop": union, "nameservers": union, "searches": union,
		"preferredDuringSchedulingIgnoredDuringExecution": union,
		"requiredDuringSchedulingIgnoredDuringExecution":  union, // of pods; that of nodes is a map
	}
}

// merge puts over above base. Neither is changed.
func merge(base, over map[string]any) map[string]any {
	merged := maps.Clone(base)
	if merged == nil {
		merged = map[string]any{}
	}
	table := rules()
	for key, value := range over {
		switch value := value.(type) {
		case map[string]any:
			merged[key] = merge(object(merged[key]), value)
		case []any:
			merged[key] = value
			if rule, ok := table[key]; ok {
				merged[key] = rule(list(base[key]), value)
			}
		default:
			merged[key] = value
		}
	}
	return merged
}

// replace takes the second of two items with the same key: an env entry is a value or a reference, never both.
func replace(_, over map[string]any) map[string]any { return over }

// byKey joins items that agree in all these fields, and appends the others.
func byKey(join func(base, over map[string]any) map[string]any, fields ...string) rule {
	key := func(item any) string {
		text := ""
		for _, field := range fields {
			value := object(item)[field]
			if field == "protocol" && value == nil {
				value = "TCP"
			}
			text += fmt.Sprintf("%v\x00", value)
		}
		return text
	}
	return func(base, over []any) []any {
		merged := slices.Clone(base)
		for _, item := range over {
			i := slices.IndexFunc(merged, func(old any) bool { return key(old) == key(item) })
			if i < 0 {
				merged = append(merged, item)
			} else {
				merged[i] = join(object(merged[i]), object(item))
			}
		}
		return merged
	}
}

// union appends what is not there yet.
func union(base, over []any) []any {
	merged := slices.Clone(base)
	for _, item := range over {
		if !slices.ContainsFunc(merged, func(old any) bool { return reflect.DeepEqual(old, item) }) {
			merged = append(merged, item)
		}
	}
	return merged
}

// everyPair makes terms that ask for both: a node fits if one of them fits it.
func everyPair(base, over []any) []any {
	if len(base) == 0 || len(over) == 0 {
		return append(slices.Clone(base), over...)
	}
	var terms []any
	for _, a := range base {
		for _, b := range over {
			term := map[string]any{}
			for _, key := range []string{"matchExpressions", "matchFields"} {
				if both := union(list(object(a)[key]), list(object(b)[key])); len(both) > 0 {
					term[key] = both
				}
			}
			terms = append(terms, term)
		}
	}
	return terms
}

// tree turns a Kubernetes object into maps and lists. Numbers keep their text, so that none loses digits.
func tree(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("writing %T: %w", v, err)
	}
	var m map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("reading %T: %w", v, err)
	}
	return m, nil
}

// fill turns a tree into a Kubernetes object.
func fill(m map[string]any, into any) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing %T: %w", into, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading %T: %w", into, err)
	}
	return nil
}
