package engine

import "errors"

// Decisions about an engine's failure. Drivers wrap them; callers use errors.Is.
var (
	// ErrNotFound: the container does not exist (any more).
	ErrNotFound = errors.New("no such container")
	// ErrTaken comes with ErrNotFound where the error tells what has become of the container.
	ErrTaken = errors.New("the container was taken away")
	// ErrUnavailable: the engine is not there or does not answer.
	ErrUnavailable = errors.New("the container engine does not answer")
	// ErrImageNotFound: the registry has no such image or tag; trying again does not help.
	ErrImageNotFound = errors.New("image not found")
	// ErrDenied: the registry refused the credentials, or wants some.
	ErrDenied = errors.New("the registry denied access")
	// ErrNoSpace: the disk is full.
	ErrNoSpace = errors.New("no space left on device")
	// ErrOptions: the engine did not understand the create flags of the workflow.
	ErrOptions = errors.New("the engine refused the container options")
	// ErrUnhealthy: a service exited or turned unhealthy.
	ErrUnhealthy = errors.New("container is not healthy")
	// ErrPortTaken: a published port is in use on the host.
	ErrPortTaken = errors.New("the host port is taken")
	// ErrCommand: the image has no such entry point or command, or it cannot be executed.
	ErrCommand = errors.New("the container's command cannot be started")
)
