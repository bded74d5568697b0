package enginetest

import "time"

func checkExec(v *env) {
	c := v.shell("exec", "sleep 1000")
	job := v.start(v.job(&c))
	ctx := v.cleanContext()
	if err := v.engine.Exec(ctx, job.Container.ID, "0", "true"); err != nil {
		v.t.Errorf("true: %v", err)
	}
	if err := v.engine.Exec(ctx, job.Container.ID, "0", "false"); err == nil {
		v.t.Error("false has succeeded")
	}
	if err := v.engine.Exec(ctx, "0123456789abcdef", "0", "true"); err == nil {
		v.t.Error("a program ran in a container that does not exist")
	}
	_ = time.Second
}
