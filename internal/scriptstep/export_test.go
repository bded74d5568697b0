package scriptstep

import "time"

// SetGrace makes a copy give up sooner.
func (c *Copy) SetGrace(d time.Duration) { c.grace = d }
