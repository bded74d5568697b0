package options

// NothingToDo are the flags that need no translation of their own.
func NothingToDo() []string { return nothingToDo() }
