package kube

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
)

// facts collects what the choice of a mode rests on, for a job with these labels. permissions asks the API server what the
// service account may do; without, Missing stays empty.
func (d *Driver) facts(ctx context.Context, labels map[string]string, permissions bool) (Facts, *home, error) {
	f := Facts{WorkFolder: d.opts.Work, LinkName: d.opts.LinkVolume}
	var h *home
	g, asking := errgroup.WithContext(ctx)
	g.Go(func() error {
		found, err := d.home(asking)
		if err != nil && asking.Err() == nil {
			f.Unread = err.Error()
			return nil
		}
		h = found
		return err
	})
	if permissions {
		g.Go(func() (err error) {
			f.Missing, err = d.missing(asking)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return f, nil, err
	}
	d.fill(&f, h, labels)
	return f, h, nil
}

// fill tells of the runner's pod; h may be nil.
func (d *Driver) fill(f *Facts, h *home, labels map[string]string) {
	f.NoAgentImage = d.noAgentImage(h)
	f.Claim = d.opts.Claim
	if d.opts.Template != nil {
		f.NeedsOwnPod = d.opts.Template.NeedsOwnPod()
	}
	for key, value := range map[string]string{"limits.cpus": d.opts.Limits.CPUs, "limits.memory": d.opts.Limits.Memory} {
		if value != "" {
			f.Limits = append(f.Limits, key)
		}
	}
	slices.Sort(f.Limits)
	if h == nil {
		return
	}
	f.Pod, f.Served, f.LinkVolume = h.pod.Name, h.served(labels), h.second != nil
	if v := h.work; v != nil {
		f.WorkVolume, f.WorkKind, f.WorkWhole, f.WorkMount = v.Name, kind(v.Volume), v.whole(), v.mount.MountPath
		if claim := claimOf(h.pod, v.Volume); claim != "" && !v.mount.ReadOnly {
			f.Claim = claim
		}
	}
}

// noAgentImage says why no image is known that has the agent.
func (d *Driver) noAgentImage(h *home) string {
	switch {
	case d.opts.AgentImage != "":
		return ""
	case h == nil:
		return "it is not known which image has gantry-agent: the runner's own pod is not known"
	case !h.inImage(d.opts.AgentProgram):
		return fmt.Sprintf("%s lies on a volume of the runner's pod, not in its image", d.opts.AgentProgram)
	}
	return ""
}

// missing asks about all permissions that some mode needs.
func (d *Driver) missing(ctx context.Context) ([]kubeapi.Access, error) {
	var all []kubeapi.Access
	for _, m := range modes() {
		for _, a := range Accesses(m) {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return d.denied(ctx, all)
}

// denied are those of some permissions that the service account lacks.
func (d *Driver) denied(ctx context.Context, all []kubeapi.Access) ([]kubeapi.Access, error) {
	allowed := make([]bool, len(all))
	g, ctx := errgroup.WithContext(ctx)
	for i, a := range all {
		g.Go(func() (err error) {
			allowed[i], err = d.api.May(ctx, a)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var missing []kubeapi.Access
	for i, a := range all {
		if !allowed[i] {
			missing = append(missing, a)
		}
	}
	return missing, nil
}

// settled tells that the settings leave only one mode, so that no permissions need to be asked for.
func settled(mode, volume string) bool { return len(Wanted(mode, volume)) == 1 }
