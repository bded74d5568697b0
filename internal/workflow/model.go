package workflow

import "strings"

// Workflow is one workflow file.
type Workflow struct {
	Name     string // what github.workflow says: the key name, else File
	File     string
	RunName  Text
	Events   []string    // what starts it on GitHub, in the order of the file
	Inputs   []Input     // of workflow_dispatch
	Call     *CallInputs // of workflow_call; nil if it cannot be called
	Env      Vars
	Defaults Defaults
	Jobs     []*Job // in the order of the file
	// Ignored is what the file says and a run on this machine does not do, of the workflow and of all its jobs.
	Ignored []Note

	lines []string
}

// Job finds a job by its id; upper and lower case are the same. It is nil if there is none.
func (w *Workflow) Job(id string) *Job {
	for _, job := range w.Jobs {
		if strings.EqualFold(job.ID, id) {
			return job
		}
	}
	return nil
}

// Note is a key that is read and has no effect.
type Note struct {
	Job  string // "" for the workflow's own
	Key  string // "permissions", "concurrency", "environment" …
	Pos  Pos
	File string
}

// Defaults are defaults.run: not Written where a default is absent.
type Defaults struct {
	Shell            Text
	WorkingDirectory Text
}

// Input is one that a workflow_dispatch event, a caller or a step with an action gives.
type Input struct {
	Name        string
	Pos         Pos
	Description string
	Type        string // "string", "boolean", "number", "choice", "environment"; actions have only "string"
	Required    bool
	Default     Scalar
	Options     []string // of a choice
	Deprecated  string   // an action's deprecationMessage
}

// CallInputs is what a workflow that others can call takes and gives.
type CallInputs struct {
	Pos     Pos
	Inputs  []Input
	Secrets []CallSecret
	Outputs []Var
}

// CallSecret is a secret that a called workflow takes.
type CallSecret struct {
	Name     string
	Pos      Pos
	Required bool
}

// Job is one entry of jobs. Either Steps is what it does, or Call.
type Job struct {
	ID              string
	Pos             Pos // of the id
	Name            Text
	Needs           []Need
	If              Text // a condition, with or without ${{ }}; not Written: success()
	RunsOn          RunsOn
	Env             Vars
	Defaults        Defaults
	Strategy        Strategy
	TimeoutMinutes  Number // not Written: 360
	ContinueOnError Flag
	Outputs         []Var
	Container       *Container // nil: the steps run on the host
	Services        Services
	Steps           []*Step
	Call            *Call
}

// DisplayName is what GitHub shows for one run of a job: name is the evaluated Name, "" if it has none, and c the
// combination of its matrix, nil without one. A name with an expression of its own stands alone.
func (j *Job) DisplayName(name string, c *Combination) string {
	switch {
	case name == "":
		name = j.ID
	case j.Name.HasExpr():
		c = nil
	}
	if c == nil {
		c = &Combination{}
	}
	return c.Name(name)
}

// Need is the id of a job that has to be over before.
type Need struct {
	ID  string
	Pos Pos
}

// RunsOn says which runner a job asks for.
type RunsOn struct {
	Expr   Text // when Written, Labels is empty
	Labels []Text
	Group  Text
}

// Strategy says how often a job runs.
type Strategy struct {
	Matrix      *Matrix // nil: once
	FailFast    Flag    // not Written: true
	MaxParallel Number  // not Written: no limit
}

// Matrix is strategy.matrix as it is written: an object of lists with include and exclude, or an expression that
// gives one. Its expressions have to be evaluated before it can be expanded: Expand(value) of Tree.Resolve.
type Matrix struct {
	Tree Tree
}

// Container is a job's container or a service.
type Container struct {
	Pos Pos
	// Expr is the whole value if it is one scalar. Without an expression it is the image, and Image is the same
	// text; with one it gives an image or an object, see ContainerOf.
	Expr        Text
	Image       Text
	Credentials Credentials
	Env         Vars
	Ports       []Text
	Volumes     []Text
	Options     Text
	Entrypoint  Text // of services only
	Command     Text // of services only
}

// Credentials are those of an image's registry.
type Credentials struct {
	Expr     Text // gives an object with the two keys; when Written, the others are absent
	Username Text
	Password Text
}

// Services are a job's service containers in the order of the file; or one expression that gives an object of them,
// see ServicesOf.
type Services struct {
	Expr Text
	List []Service
}

// Service is a container that runs beside a job, reached by its ID.
type Service struct {
	ID        string
	Container *Container
}

// Call is a job that runs another workflow.
type Call struct {
	Uses     Text
	Path     string // of the called file, below the root that Load was given
	With     []Argument
	Secrets  []Var
	Inherit  bool      // secrets: inherit
	Workflow *Workflow // the called one; nil if it cannot be read, for which there is a finding
}

// Argument is an input's value for a called workflow. It keeps its type.
type Argument struct {
	Name  string
	Pos   Pos
	Value Scalar
}
