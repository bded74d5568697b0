package kube

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
)

// Orphans is part of engine.Orphaner: what jobs have left in the namespace whose runners' pods are gone, or have ended. The
// cluster collects what belongs to a pod that is gone by itself, some time; it keeps what belongs to one that has ended.
func (d *Driver) Orphans(ctx context.Context) (engine.Inventory, error) {
	r := &registry{d: d, alive: map[string]bool{}}
	pods, err := d.api.Pods(ctx, nil)
	if errors.Is(err, kubeapi.ErrForbidden) {
		return engine.Inventory{}, nil // a runner's own Role of in-pod mode: others' are not for it to remove
	}
	if err != nil {
		return engine.Inventory{}, fmt.Errorf("listing the jobs' pods: %w", err)
	}
	secrets, err := d.api.Secrets(ctx, nil)
	if err != nil {
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
	d     *Driver
	alive map[string]bool // by uid and name
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

func (r *registry) lives(ctx context.Context, name, uid string) (bool, error) {
	key := name + "/" + uid
	if alive, known := r.alive[key]; known {
		return alive, nil
	}
	pod, err := r.d.api.Pod(ctx, name)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return false, fmt.Errorf("looking for the runner's pod %s: %w", name, err)
	}
	alive := err == nil && (uid == "" || string(pod.UID) == uid) && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
	r.alive[key] = alive
	return alive, nil
}

// borrowed are credentials that jobs of dead runners have left in the secret for in-pod mode.
func (r *registry) borrowed(ctx context.Context) ([]engine.Object, error) {
	secret, err := r.d.api.Secret(ctx, lentPrefix)
	if errors.Is(err, engine.ErrNotFound) || errors.Is(err, kubeapi.ErrForbidden) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the secret %s: %w", lentPrefix, err)
	}
	var all []engine.Object
	for job, b := range readLent(secret).borrowers {
		alive, err := r.lives(ctx, b.Pod, "")
		if err != nil {
			return nil, err
		}
		if !alive {
			all = append(all, b.row(job, secret.Name))
		}
	}
	return all, nil
}

func secretRow(s *corev1.Secret) engine.Object {
	return engine.Object{Kind: "secret", ID: string(s.UID), Name: s.Name, Labels: words(s.Labels), Created: s.CreationTimestamp.Time}
}

func (b borrower) row(job, secret string) engine.Object {
	return engine.Object{Kind: credentialsKind, ID: job, Name: secret, Labels: b.Labels, Created: b.Since}
}
