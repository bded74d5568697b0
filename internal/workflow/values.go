package workflow

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/expr"
)

// ContainerOf makes a container of the value of Container.Expr: the name of an image, or an object with the keys of
// a container. Its texts are literals. It is nil, without an error, for an empty name, which means no container.
func ContainerOf(value expr.Value) (*Container, error) { return containerOf(value, false) }

// ServicesOf makes services of the value of Services.Expr, an object with one container a name. Their texts are
// literals. A service without an image is left out, as on GitHub.
func ServicesOf(value expr.Value) (Services, error) {
	object, ok := value.(expr.Object)
	if !ok {
		return Services{}, errors.New("services are no object")
	}
	var s Services
	for _, id := range object.Names() {
		c, err := containerOf(member(object, id), true)
		if err != nil {
			return Services{}, fmt.Errorf("service %q: %w", id, err)
		}
		if c != nil {
			s.List = append(s.List, Service{ID: id, Container: c})
		}
	}
	return s, nil
}

func containerOf(value expr.Value, isService bool) (*Container, error) {
	object, ok := value.(expr.Object)
	if !ok {
		image, err := literalOf(value)
		if err != nil || image.Raw == "" {
			return nil, err
		}
		return &Container{Image: image}, nil
	}
	c := &Container{}
	for _, key := range object.Names() {
		if err := c.set(key, member(object, key), isService); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	if c.Image.Raw == "" {
		return nil, nil
	}
	return c, nil
}

func (c *Container) set(key string, value expr.Value, isService bool) (err error) {
	switch {
	case key == "image":
		c.Image, err = literalOf(value)
	case key == "options":
		c.Options, err = literalOf(value)
	case key == "ports":
		c.Ports, err = literalsOf(value)
	case key == "volumes":
		c.Volumes, err = literalsOf(value)
	case key == "env":
		c.Env.List, err = literalVars(value)
	case key == "credentials":
		c.Credentials, err = CredentialsOf(value)
	case key == "entrypoint" && isService:
		c.Entrypoint, err = literalOf(value)
	case key == "command" && isService:
		c.Command, err = literalOf(value)
	default:
		err = errors.New("a container has no such key")
	}
	return err
}

// CredentialsOf makes credentials of the value of Credentials.Expr, an object with username and password; null and
// the empty text are none.
func CredentialsOf(value expr.Value) (c Credentials, err error) {
	if value == nil || value == "" {
		return c, nil
	}
	list, err := literalVars(value)
	for _, v := range list {
		switch v.Name {
		case "username":
			c.Username = v.Value
		case "password":
			c.Password = v.Value
		}
	}
	return c, err
}

func literalOf(value expr.Value) (Text, error) {
	switch value.(type) {
	case *expr.Array, expr.Object:
		return Text{}, errors.New("text is expected, not an object or a list")
	}
	return Literal(expr.Text(value)), nil
}

func literalsOf(value expr.Value) ([]Text, error) {
	list, ok := value.(*expr.Array)
	if !ok {
		return nil, errors.New("a list is expected")
	}
	var all []Text
	for _, item := range list.Items {
		text, err := literalOf(item)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

func literalVars(value expr.Value) ([]Var, error) {
	object, ok := value.(expr.Object)
	if !ok {
		return nil, errors.New("keys with values are expected")
	}
	var all []Var
	for _, name := range object.Names() {
		text, err := literalOf(member(object, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, Var{Name: name, Value: text})
	}
	return all, nil
}

// InputValues makes the context inputs of what was given by name on a command line or by a caller: values are
// checked against the types, and absent ones have their default, else false, 0 or the empty text. All mistakes are
// in the error. eval is asked for defaults that are expressions; it may be nil if there are none.
func InputValues(inputs []Input, given map[string]expr.Value, eval func(Text) (expr.Value, error)) (*expr.Map, error) {
	values := expr.NewMap()
	var problems []error
	known := map[string]bool{}
	for _, input := range inputs {
		known[lower(input.Name)] = true
		value, err := input.value(given, eval)
		if err != nil {
			problems = append(problems, fmt.Errorf("input %q: %w", input.Name, err))
		}
		values.Set(input.Name, value)
	}
	for name := range given {
		if !known[lower(name)] {
			problems = append(problems, fmt.Errorf("there is no input %q", name))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return values, errors.Join(problems...)
}

func (in Input) value(given map[string]expr.Value, eval func(Text) (expr.Value, error)) (expr.Value, error) {
	for name, value := range given {
		if strings.EqualFold(name, in.Name) {
			return in.convert(value)
		}
	}
	if in.Required && !in.Default.Text.Written() {
		return nil, errors.New("it is required and was not given")
	}
	if in.Default.Text.Written() {
		value, err := in.Default.resolve(eval)
		if err != nil {
			return nil, err
		}
		return in.convert(value)
	}
	switch in.Type {
	case "boolean":
		return false, nil
	case "number":
		return float64(0), nil
	}
	return "", nil
}

// convert takes a value of the type, or text that says one.
func (in Input) convert(value expr.Value) (expr.Value, error) {
	switch in.Type {
	case "boolean":
		return toBool(value)
	case "number":
		return toNumber(value)
	case "choice":
		if text := expr.Text(value); len(in.Options) > 0 && !slices.Contains(in.Options, text) {
			return nil, fmt.Errorf("%q is not one of %s", text, strings.Join(in.Options, ", "))
		}
	}
	text, err := literalOf(value)
	return text.Raw, err
}

func toBool(value expr.Value) (expr.Value, error) {
	switch v := value.(type) {
	case bool:
		return v, nil
	case string:
		if v == "true" || v == "false" {
			return v == "true", nil
		}
	}
	return nil, fmt.Errorf("%q is not true or false", expr.Text(value))
}

func toNumber(value expr.Value) (expr.Value, error) {
	text := expr.Text(value)
	switch value.(type) {
	case float64, string:
		if number := expr.Number(value); !math.IsNaN(number) && strings.TrimSpace(text) != "" {
			return number, nil
		}
	}
	return nil, fmt.Errorf("%q is no number", text)
}
