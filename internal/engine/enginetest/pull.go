package enginetest

import (
	"cmp"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func checkPullNever(v *env) {
	absent := v.container("db", "gantry.test/absent:1")
	absent.Pull = engine.PullNever
	v.fail(v.job(nil, absent), engine.ErrImageNotFound, verdict.Configuration)
}

// private is a container of the registry's image, pulled in any case.
func (v *env) private(name string, creds engine.Credentials) engine.ContainerSpec {
	c := v.container(name, v.fx.Registry.Image, "sh", "-c", "sleep 600")
	c.Pull = engine.PullAlways
	c.Credentials = &creds
	return c
}

func (v *env) rightCredentials() engine.Credentials {
	r := v.fx.Registry
	return engine.Credentials{Username: r.User, Password: r.Password, Server: r.Addr}
}

func checkPrivatePull(v *env) {
	job := v.start(v.job(nil, v.private("one", v.rightCredentials()), v.private("two", v.rightCredentials())))
	pulls := 0
	for _, p := range job.Phases {
		if p.Title == "pull "+v.fx.Registry.Image {
			pulls++
		}
	}
	if v.has(Store) && pulls != 1 {
		v.Errorf("%d pulls of one image: %+v", pulls, job.Phases)
	}
	if log := v.log.String(); strings.Contains(log, v.fx.Registry.Password) || v.has(Store) && !strings.Contains(log, v.fx.Registry.Image) {
		v.Errorf("the log is %q", log)
	}
}

func checkWrongPassword(v *env) {
	creds := v.rightCredentials()
	creds.Password = "not-the-password"
	start := time.Now()
	found := v.fail(v.job(nil, v.private("db", creds)), engine.ErrDenied, verdict.Workflow)
	v.refusedSince(start)
	if strings.Contains(found.Error()+found.Command+found.Output+v.log.String(), creds.Password) {
		v.Errorf("the password is shown: %+v", found)
	}
}

func (v *env) refusedSince(start time.Time) {
	if took := time.Since(start); took > cmp.Or(v.fx.Refusal, 5*time.Second) {
		v.Errorf("it took %s", took)
	}
}

func checkNoSuchTag(v *env) {
	c := v.private("db", v.rightCredentials())
	c.Image += "-no-such-tag"
	start := time.Now()
	found := v.fail(v.job(nil, c), engine.ErrImageNotFound, verdict.Workflow)
	v.refusedSince(start)
	if !strings.Contains(found.Error()+found.Command, c.Image) {
		v.Errorf("the image is not named: %v", found)
	}
}
