package options

// NothingToDo are the flags that need no translation of their own.
func NothingToDo() []string { return nothingToDo() }

// Unsupported are the flags that are always noted.
func Unsupported() map[string]string { return unsupported() }
