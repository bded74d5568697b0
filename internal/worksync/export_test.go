package worksync

// Vanish ends the hook's connections as the kernel does for a hook that is killed.
func (h *Hook) Vanish() { h.hangUp() }
