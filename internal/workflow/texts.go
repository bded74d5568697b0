package workflow

// place is what expressions can see somewhere in a file.
type place struct {
	key       string   // GitHub's name for it, for actionlint's table; "" if contexts says it
	contexts  []string // available contexts, lower case
	functions []string // of always, cancelled, failure, success and hashfiles, those that are available
	condition bool     // an expression even without ${{ }}
	none      bool     // no expression at all
}

func at(key string) place { return place{key: key} }

func condition(key string) place { return place{key: key, condition: true} }

// visitTexts visits every template of a workflow with what it can see.
func (w *Workflow) visitTexts(visit func(place, Text)) {
	visit(at("run-name"), w.RunName)
	w.Env.visitTexts(at("env"), visit)
	if w.Call != nil {
		for _, input := range w.Call.Inputs {
			visit(at("on.workflow_call.inputs.<inputs_id>.default"), input.Default.Text)
		}
		visitVars(w.Call.Outputs, at("on.workflow_call.outputs.<output_id>.value"), visit)
	}
	for _, job := range w.Jobs {
		job.visitTexts(visit)
	}
}

func (v Vars) visitTexts(where place, visit func(place, Text)) {
	visit(where, v.Expr)
	visitVars(v.List, where, visit)
}

func visitVars(list []Var, where place, visit func(place, Text)) {
	for _, entry := range list {
		visit(where, entry.Value)
	}
}

func visitList(list []Text, where place, visit func(place, Text)) {
	for _, t := range list {
		visit(where, t)
	}
}

func (j *Job) visitTexts(visit func(place, Text)) {
	const job = "jobs.<job_id>."
	visit(at(job+"name"), j.Name)
	visit(condition(job+"if"), j.If)
	visitList(append([]Text{j.RunsOn.Expr, j.RunsOn.Group}, j.RunsOn.Labels...), at(job+"runs-on"), visit)
	j.Env.visitTexts(at(job+"env"), visit)
	visit(at(job+"defaults.run"), j.Defaults.Shell)
	visit(at(job+"defaults.run"), j.Defaults.WorkingDirectory)
	j.Strategy.visitTexts(at(job+"strategy"), visit)
	visit(at(job+"timeout-minutes"), j.TimeoutMinutes.Text)
	visit(at(job+"continue-on-error"), j.ContinueOnError.Text)
	visitVars(j.Outputs, at(job+"outputs.<output_id>"), visit)
	if j.Container != nil {
		j.Container.visitTexts(job+"container", visit)
	}
	visit(at(job+"services"), j.Services.Expr)
	for _, s := range j.Services.List {
		s.Container.visitTexts(job+"services", visit)
	}
	for _, step := range j.Steps {
		step.visitTexts(stepPlaces(), visit)
	}
	if j.Call != nil {
		for _, argument := range j.Call.With {
			visit(at(job+"with.<with_id>"), argument.Value.Text)
		}
		visitVars(j.Call.Secrets, at(job+"secrets.<secrets_id>"), visit)
	}
}

func (s Strategy) visitTexts(where place, visit func(place, Text)) {
	visit(where, s.FailFast.Text)
	visit(where, s.MaxParallel.Text)
	if s.Matrix != nil {
		s.Matrix.Tree.each(func(t Text) { visit(where, t) })
	}
}

// visitTexts visits those of the container at key, "jobs.<job_id>.container" or "jobs.<job_id>.services".
func (c *Container) visitTexts(key string, visit func(place, Text)) {
	below := key
	if key == "jobs.<job_id>.services" {
		below += ".<service_id>"
	}
	visit(at(key), c.Expr)
	if c.Image != c.Expr {
		visit(at(key), c.Image)
	}
	visitList([]Text{c.Credentials.Expr, c.Credentials.Username, c.Credentials.Password}, at(below+".credentials"), visit)
	c.Env.visitTexts(at(below+".env.<env_id>"), visit)
	visitList(c.Ports, at(key), visit)
	visitList(c.Volumes, at(key), visit)
	visitList([]Text{c.Options, c.Entrypoint, c.Command}, at(key), visit)
}

// placesOfStep are the places in a step.
type placesOfStep struct {
	condition, value place
	shell            place
}

func stepPlaces() placesOfStep {
	return placesOfStep{
		condition: condition("jobs.<job_id>.steps.if"),
		value:     at("jobs.<job_id>.steps.run"),
		shell:     place{none: true}, // GitHub knows no context there
	}
}

func (s *Step) visitTexts(places placesOfStep, visit func(place, Text)) {
	visit(places.value, s.Name)
	visit(places.condition, s.If)
	s.Env.visitTexts(places.value, visit)
	visit(places.value, s.ContinueOnError.Text)
	visit(places.value, s.TimeoutMinutes.Text)
	switch {
	case s.Run != nil:
		visit(places.value, s.Run.Script)
		visit(places.shell, s.Run.Shell)
		visit(places.value, s.Run.WorkingDirectory)
	case s.Uses != nil:
		visitVars(s.Uses.With, places.value, visit)
	}
	for _, step := range s.Parallel {
		step.visitTexts(places, visit)
	}
}
