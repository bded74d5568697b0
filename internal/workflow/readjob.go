package workflow

import (
	"go.yaml.in/yaml/v4"
)

func (r *reader) jobs(w *Workflow, n *yaml.Node) {
	for key, value := range r.fields(n, "jobs") {
		r.job = key.Value
		job := &Job{ID: key.Value, Pos: posOf(key)}
		r.readJob(job, value)
		w.Jobs = append(w.Jobs, job)
	}
	r.job = ""
}

func (r *reader) readJob(job *Job, n *yaml.Node) {
	call := &Call{}
	for key, value := range r.fields(n, "a job") {
		if !r.jobKey(job, key, value) && !r.callKey(call, key, value) {
			r.unknownKey(key, "a job")
		}
	}
	if call.Uses.Written() {
		job.Call = call
	}
}

func (r *reader) jobKey(job *Job, key, value *yaml.Node) bool {
	switch key.Value {
	case "name":
		job.Name = r.text(value, "name")
	case "needs":
		job.Needs = r.references(value, "needs")
	case "if":
		job.If = r.text(value, "if")
	case "runs-on":
		job.RunsOn = r.runsOn(value)
	case "env":
		job.Env = r.varsOrExpr(value, "env")
	case "defaults":
		job.Defaults = r.defaults(value)
	case "strategy":
		job.Strategy = r.strategy(value)
	case "timeout-minutes":
		job.TimeoutMinutes = r.number(value, "timeout-minutes")
	case "continue-on-error":
		job.ContinueOnError = r.flag(value, "continue-on-error")
	case "outputs":
		job.Outputs = r.vars(value, "outputs")
	case "container":
		job.Container = r.container(value, "container")
	case "services":
		job.Services = r.services(value)
	case "steps":
		job.Steps = r.steps(value, jobSteps)
	default:
		return r.ignoredJobKey(key, value)
	}
	return true
}

func (r *reader) ignoredJobKey(key, value *yaml.Node) bool {
	switch key.Value {
	case "permissions", "environment", "snapshot":
		r.ignore(key)
	case "concurrency":
		r.concurrency(key, value)
	case "cancel-timeout-minutes": // in GitHub's schema, not in actionlint
		r.accept(key)
		r.ignore(key)
	default:
		return false
	}
	return true
}

func (r *reader) callKey(call *Call, key, value *yaml.Node) bool {
	switch key.Value {
	case "uses":
		call.Uses = r.text(value, "uses")
	case "with":
		for key, value := range r.fields(value, "with") {
			call.With = append(call.With, Argument{Name: key.Value, Pos: posOf(key), Value: r.scalar(value, "an input")})
		}
	case "secrets":
		if call.Inherit = value.Kind == yaml.ScalarNode && value.Value == "inherit"; !call.Inherit {
			call.Secrets = r.vars(value, "secrets")
		}
	default:
		return false
	}
	return true
}

// references reads ids of jobs or steps: one, or a list of them.
func (r *reader) references(n *yaml.Node, what string) []Need {
	var all []Need
	for _, item := range r.itemsOrOne(n, what) {
		all = append(all, Need{ID: r.literal(item, what), Pos: posOf(item)})
	}
	return all
}

func (r *reader) runsOn(n *yaml.Node) RunsOn {
	if t, ok := r.wholeExpr(n); ok {
		return RunsOn{Expr: t}
	}
	if n.Kind != yaml.MappingNode {
		return RunsOn{Labels: r.labels(n)}
	}
	var on RunsOn
	for key, value := range r.fields(n, "runs-on") {
		switch key.Value {
		case "group":
			on.Group = r.text(value, "group")
		case "labels":
			if t, ok := r.wholeExpr(value); ok {
				on.Expr = t
			} else {
				on.Labels = r.labels(value)
			}
		default:
			r.unknownKey(key, "runs-on")
		}
	}
	return on
}

func (r *reader) labels(n *yaml.Node) []Text {
	var all []Text
	for _, item := range r.itemsOrOne(n, "runs-on") {
		all = append(all, r.text(item, "a label"))
	}
	return all
}

func (r *reader) strategy(n *yaml.Node) Strategy {
	var s Strategy
	for key, value := range r.fields(n, "strategy") {
		switch key.Value {
		case "matrix":
			s.Matrix = &Matrix{Tree: r.tree(value)}
		case "fail-fast":
			s.FailFast = r.flag(value, "fail-fast")
		case "max-parallel":
			s.MaxParallel = r.number(value, "max-parallel")
		default:
			r.unknownKey(key, "strategy")
		}
	}
	return s
}

func (r *reader) services(n *yaml.Node) Services {
	if t, ok := r.wholeExpr(n); ok {
		return Services{Expr: t}
	}
	var s Services
	for key, value := range r.fields(n, "services") {
		s.List = append(s.List, Service{ID: key.Value, Container: r.container(value, service)})
	}
	return s
}

const service = "a service"

func (r *reader) container(n *yaml.Node, what string) *Container {
	c := &Container{Pos: posOf(n)}
	if n.Kind == yaml.ScalarNode {
		c.Expr = r.text(n, what)
		if !c.Expr.HasExpr() {
			c.Image = c.Expr
		}
		return c
	}
	for key, value := range r.fields(n, what) {
		switch known := r.containerKey(c, key, value); {
		case known:
		case what == service && r.serviceKey(c, key, value):
			r.accept(key) // newer than actionlint
		default:
			r.unknownKey(key, what)
		}
	}
	return c
}

func (r *reader) containerKey(c *Container, key, value *yaml.Node) bool {
	switch key.Value {
	case "image":
		c.Image = r.text(value, "image")
	case "credentials":
		c.Credentials = r.credentials(value)
	case "env":
		c.Env = r.varsOrExpr(value, "env")
	case "ports":
		c.Ports = r.texts(value, "ports")
	case "volumes":
		c.Volumes = r.texts(value, "volumes")
	case "options":
		c.Options = r.text(value, "options")
	default:
		return false
	}
	return true
}

func (r *reader) serviceKey(c *Container, key, value *yaml.Node) bool {
	switch key.Value {
	case "entrypoint":
		c.Entrypoint = r.text(value, "entrypoint")
	case "command":
		c.Command = r.text(value, "command")
	default:
		return false
	}
	return true
}

func (r *reader) credentials(n *yaml.Node) Credentials {
	if t, ok := r.wholeExpr(n); ok {
		return Credentials{Expr: t}
	}
	var c Credentials
	for key, value := range r.fields(n, "credentials") {
		switch key.Value {
		case "username":
			c.Username = r.text(value, "username")
		case "password":
			c.Password = r.text(value, "password")
		default:
			r.unknownKey(key, "credentials")
		}
	}
	return c
}
