package enginetest

func checkExec(v *env) {
	c := v.shell("exec", "sleep 1000")
	job := v.start(v.job(&c))
	ctx := v.cleanContext()
	if err := v.Exec(ctx, job.Container.ID, "0", "true"); err != nil {
		v.Errorf("true: %v", err)
	}
	if err := v.Exec(ctx, job.Container.ID, "0", "false"); err == nil {
		v.Error("false has succeeded")
	}
	if err := v.Exec(ctx, "0123456789abcdef", "0", "true"); err == nil {
		v.Error("a program ran in a container that does not exist")
	}
}
