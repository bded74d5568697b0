package workflow

// Step is one entry of steps. Exactly one of Run, Uses, Wait, Cancel and Parallel is set.
type Step struct {
	ID string // as written; "" if it has none
	// ContextName is ID, or the name that GitHub makes up for a step without one: "__run", "__actions_checkout_2".
	// The variable GITHUB_ACTION has it.
	ContextName     string
	Pos             Pos
	Name            Text
	If              Text // a condition, with or without ${{ }}; not Written: success()
	Env             Vars
	ContinueOnError Flag
	TimeoutMinutes  Number
	Background      bool // the next step does not wait for it

	Run      *Run
	Uses     *Uses
	Wait     *Wait
	Cancel   *Cancel
	Parallel []*Step // run at the same time; the next step waits for all. Each has Run or Uses.
}

// Run is a script.
type Run struct {
	Script           Text
	Shell            Text
	WorkingDirectory Text
}

// Wait is a step that ends when steps in the background have ended.
type Wait struct {
	All bool // all that are running
	For []Need
}

// Cancel is a step that ends one in the background.
type Cancel struct{ Step Need }

// UsesKind says where an action comes from.
type UsesKind int

// The kinds of actions.
const (
	LocalAction      UsesKind = iota // ./path, below the workspace
	DockerImage                      // docker://image
	RepositoryAction                 // owner/repo[/path]@ref
)

// Uses is a step that runs an action.
type Uses struct {
	Text  Text
	Kind  UsesKind
	Path  string // LocalAction: the folder, without ./; RepositoryAction: the folder in the repository, or ""
	Image string // DockerImage
	Owner string // RepositoryAction
	Repo  string // RepositoryAction
	Ref   string // RepositoryAction
	With  []Var
}
