package handler

// allowed checks a request against the administrator's policy.
func (p *planner) allowed(pt part) error { return nil }

func rewriteImage(_ map[string]string, image string) string { return image }
