package template

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/resource"
)

// mergeResources lets the template fill in what nobody has asked for. What the workflow has asked for in its
// options (a request) stays, as it is within the administrator's limits; a limit that stands alone is such a limit,
// and the template's may only be lower.
func mergeResources(base, over map[string]any) map[string]any {
	merged := merge(base, over)
	limits, requests := maps.Clone(object(merged["limits"])), maps.Clone(object(merged["requests"]))
	for name := range object(base["requests"]) {
		asked := object(base["requests"])[name]
		requests[name] = asked
		if limit, ok := object(base["limits"])[name]; ok {
			limits[name] = limit
		} else if limit, ok := limits[name]; ok && exceeds(asked, limit) {
			delete(limits, name)
		}
	}
	for name, limit := range object(base["limits"]) {
		if _, asked := object(base["requests"])[name]; asked {
			continue
		}
		limits[name] = lower(limit, limits[name])
		if request, ok := requests[name]; ok {
			requests[name] = lower(limits[name], request)
		}
	}
	for key, list := range map[string]map[string]any{"limits": limits, "requests": requests} {
		if len(list) > 0 {
			merged[key] = list
		}
	}
	return merged
}

// exceeds compares two quantities of a tree; what is none exceeds nothing.
func exceeds(a, b any) bool {
	left, errLeft := resource.ParseQuantity(fmt.Sprint(a))
	right, errRight := resource.ParseQuantity(fmt.Sprint(b))
	return errLeft == nil && errRight == nil && left.Cmp(right) > 0
}

func lower(a, b any) any {
	if exceeds(a, b) {
		return b
	}
	return a
}
