package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
)

// Orphans is part of engine.Orphaner: what jobs have left in the namespace whose runners' pods are gone, or have ended. The
// cluster collects what belongs to a pod that is gone by itself, some time; it keeps what belongs to one that has ended.
func (d *Driver) Orphans(ctx context.Context) (engine.Inventory, error) {
	r := newRegistry(d, nil)
	pods, err := d.api.Pods(ctx, nil)
	if err != nil && !d.needless(err) {
		return engine.Inventory{}, fmt.Errorf("listing the jobs' pods: %w", err)
	}
	secrets, err := d.api.Secrets(ctx, nil)
	if err != nil && !d.needless(err) {
		return engine.Inventory{}, fmt.Errorf("listing the jobs' secrets: %w", err)
	}
	var inv engine.Inventory
	for i := range pods {
		if gone, err := r.ownerGone(ctx, &pods[i].ObjectMeta); err != nil {
			return inv, err
		} else if gone {
			inv.Containers = append(inv.Containers, d.rows(ctx, &pods[i], nil)...)
		}
	}
	for i := range secrets {
		if gone, err := r.ownerGone(ctx, &secrets[i].ObjectMeta); err != nil {
			return inv, err
		} else if gone {
			inv.Others = append(inv.Others, secretRow(&secrets[i]))
		}
	}
	borrowed, err := r.borrowed(ctx)
	inv.Others = append(inv.Others, borrowed...)
	return inv, err
}

// registry remembers which runners' pods are alive.
type registry struct {
	d *Driver

	mu    sync.Mutex
	alive map[string]bool // by name and uid
}

// newRegistry makes one that knows of the runner's own pod, if h is not nil.
func newRegistry(d *Driver, h *home) *registry {
	r := &registry{d: d, alive: map[string]bool{}}
	if h != nil {
		r.alive[h.pod.Name+"/"+string(h.pod.UID)] = true
	}
	return r
}

// ownerGone tells that an object belongs to a pod that is gone or has ended. What belongs to none is not judged: its runner
// lives outside of the cluster.
func (r *registry) ownerGone(ctx context.Context, meta *metav1.ObjectMeta) (bool, error) {
	for _, owner := range meta.OwnerReferences {
		if owner.Kind == "Pod" {
			alive, err := r.lives(ctx, owner.Name, string(owner.UID))
			return !alive, err
		}
	}
	return false, nil
}

// lives tells that a pod is there and has not ended. uid "" is any pod of that name.
func (r *registry) lives(ctx context.Context, name, uid string) (bool, error) {
	key := name + "/" + uid
	r.mu.Lock()
	alive, known := r.alive[key]
	r.mu.Unlock()
	if known {
		return alive, nil
	}
	pod, err := r.d.api.Pod(ctx, name)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return false, fmt.Errorf("looking for the runner's pod %s: %w", name, err)
	}
	alive = err == nil && (uid == "" || string(pod.UID) == uid) && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
	r.mu.Lock()
	r.alive[key] = alive
	r.mu.Unlock()
	return alive, nil
}

// borrowed are credentials that jobs of dead runners have left in secrets for in-pod mode.
func (r *registry) borrowed(ctx context.Context) ([]engine.Object, error) {
	secrets, err := r.d.api.MarkedSecrets(ctx, keyLent)
	if errors.Is(err, kubeapi.ErrForbidden) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the secrets with the credentials of registries: %w", err)
	}
	var all []engine.Object
	for i := range secrets {
		for job, b := range readLent(&secrets[i]).borrowers {
			alive, err := r.lives(ctx, b.Pod, b.UID)
			if err != nil {
				return nil, err
			}
			if !alive {
				all = append(all, b.row(job, secrets[i].Name))
			}
		}
	}
	return all, nil
}

// looks is how many borrowers a job that lends looks at, and lookLimit how long it looks.
const (
	looks     = 8
	lookLimit = 2 * time.Second
)

// abandoned are jobs of a secret whose runners are known to be dead. It looks at the eldest only, so that a job does not ask
// more the more others there are: those that live end, until a dead one is among the eldest.
func (r *registry) abandoned(ctx context.Context, l *lent) []string {
	eldest := slices.SortedFunc(maps.Keys(l.borrowers), func(a, b string) int {
		return l.borrowers[a].Since.Compare(l.borrowers[b].Since)
	})
	eldest = eldest[:min(len(eldest), looks)]
	ctx, stop := context.WithTimeout(ctx, lookLimit)
	defer stop()
	dead := make([]bool, len(eldest))
	var g sync.WaitGroup
	for i, job := range eldest {
		g.Go(func() {
			b := l.borrowers[job]
			alive, err := r.lives(ctx, b.Pod, b.UID)
			dead[i] = err == nil && !alive // of whom nothing can be known stays
		})
	}
	g.Wait()
	var jobs []string
	for i, job := range eldest {
		if dead[i] {
			jobs = append(jobs, job)
		}
	}
	return jobs
}

func secretRow(s *corev1.Secret) engine.Object {
	return engine.Object{Kind: "secret", ID: string(s.UID), Name: s.Name, Labels: words(s.Labels), Created: s.CreationTimestamp.Time}
}

func (b borrower) row(job, secret string) engine.Object {
	return engine.Object{Kind: credentialsKind, ID: job, Name: secret, Labels: b.Labels, Created: b.Since}
}
