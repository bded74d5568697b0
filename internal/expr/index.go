package expr

import "math"

// index evaluates a.b and a[b]. On the result of a filter it applies to each item, and leaves out those that have
// no such member.
func (e *evaluation) index(n index) (Value, error) {
	of, err := e.eval(n.of)
	if err != nil {
		return nil, err
	}
	key, err := e.eval(n.key)
	if err != nil {
		return nil, err
	}
	if a, ok := of.(*Array); ok && a.filtered {
		return e.indexEach(n, a, key)
	}
	v, _ := member(of, key)
	return e.known(n, v)
}

func (e *evaluation) indexEach(n index, of *Array, key Value) (Value, error) {
	found := &Array{filtered: true}
	for _, item := range of.Items {
		v, ok := member(item, key)
		if !ok {
			continue
		}
		if err := e.collect(n, found, v); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// filter evaluates a.*: the items of an array, the members of an object, nothing of any other value. On the result
// of a filter it takes one more level away.
func (e *evaluation) filter(n filter) (Value, error) {
	of, err := e.eval(n.of)
	if err != nil {
		return nil, err
	}
	parents := []Value{of}
	if a, ok := of.(*Array); ok && a.filtered {
		parents = a.Items
	}
	found := &Array{filtered: true}
	for _, parent := range parents {
		if err := e.collect(n, found, children(parent)...); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// collect adds to what a filter found.
func (e *evaluation) collect(n node, found *Array, items ...Value) error {
	if err := e.budget.spend(valueSize * len(items)); err != nil {
		return errorAt(e.source, n.at(), "%s", err)
	}
	for _, item := range items {
		if _, err := e.known(n, item); err != nil {
			return err
		}
	}
	found.Items = append(found.Items, items...)
	return nil
}

// unfiltered gives the array that a filter found, for use as a value of its own.
func unfiltered(v Value) Value {
	if a, ok := v.(*Array); ok && a.filtered {
		return &Array{Items: a.Items}
	}
	return v
}

// member gives the member of an object by the key's text, or the item of an array by the key's number rounded down.
func member(of, key Value) (Value, bool) {
	switch of := of.(type) {
	case *Array:
		i := math.Floor(Number(key))
		if !(i >= 0 && i < float64(len(of.Items))) { // NaN is neither
			return nil, false
		}
		return of.Items[int(i)], true
	case Object:
		if !isPrimitive(key) {
			return nil, false
		}
		return of.Get(Text(key))
	}
	return nil, false
}

// children gives the items of an array or the members of an object, in their order.
func children(of Value) []Value {
	switch of := of.(type) {
	case *Array:
		return of.Items
	case Object:
		var values []Value
		for _, name := range of.Names() {
			if v, ok := of.Get(name); ok {
				values = append(values, v)
			}
		}
		return values
	}
	return nil
}
