package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// The pull secrets of a pod that runs cannot be changed. So credentials of a job that lives in the runner's own pod go into
// a secret that the pod names already, and out of it when the job is over. Pods of one scale set name the same secret:
// several jobs may have credentials in it.

// lentPrefix begins the name of such a secret.
const lentPrefix = "gantry-pull"

// keyLent is an annotation that tells which job has which repositories in the secret, and a label by which such secrets are
// found.
const keyLent = keyPrefix + "lent"

// lentSecret is the name of the secret that the runner's pod has for this; "" if it has none.
func (h *home) lentSecret() string {
	for _, s := range h.pod.Spec.ImagePullSecrets {
		if strings.HasPrefix(s.Name, lentPrefix) {
			return s.Name
		}
	}
	return ""
}

// lend puts the credentials of the job's images where the kubelet finds them.
func (r *jobRun) lend(ctx context.Context) error {
	for _, m := range r.members {
		r.secure.credentials(m)
	}
	return r.d.lend(ctx, r.home, r.spec.Labels, r.secure.pull)
}

func (d *Driver) lend(ctx context.Context, h *home, labels map[string]string, pull map[string]engine.Credentials) error {
	if len(pull) == 0 {
		return nil
	}
	secret := h.lentSecret()
	if secret == "" {
		return verdict.New(verdict.Configuration,
			"add `imagePullSecrets: [{name: "+lentPrefix+"}]` to the template of the runner's pod (no such secret has to exist), or set kubernetes.mode to pod",
			"the image %s wants credentials: they have to be in a secret that the runner's pod names, and it names none that begins with %q", firstKey(pull), lentPrefix)
	}
	r := newRegistry(d, h)
	err := d.changeLent(ctx, secret, func(l *lent) {
		l.drop(r.abandoned(ctx, l))
		for repository, c := range pull {
			l.config.Auths[repository] = authOf(c)
			l.add(labels, h.pod, repository)
		}
	})
	if err != nil {
		return fmt.Errorf("putting the credentials of registries into the secret %s: %w", secret, err)
	}
	return nil
}

// lentTo lists the jobs of this runner with all these labels that have credentials in the secret, or those of all runners if
// everything is asked for.
func (d *Driver) lentTo(ctx context.Context, h *home, labels map[string]string) ([]engine.Object, error) {
	if h == nil || h.lentSecret() == "" {
		return nil, nil
	}
	there, err := d.api.Secret(ctx, h.lentSecret())
	if errors.Is(err, engine.ErrNotFound) || errors.Is(err, kubeapi.ErrForbidden) {
		return nil, nil // nothing was lent: that needs the same permission
	}
	if err != nil {
		return nil, fmt.Errorf("reading the secret with the credentials of registries: %w", err)
	}
	var all []engine.Object
	for job, b := range readLent(there).borrowers {
		if (tag{Labels: b.Labels}).carries(labels) && (b.Pod == h.pod.Name || everything(labels)) {
			all = append(all, b.row(job, there.Name))
		}
	}
	return all, nil
}

// takeBack removes the credentials of jobs from the secret.
func (d *Driver) takeBack(ctx context.Context, secret string, jobs []string) error {
	if len(jobs) == 0 {
		return nil
	}
	r := newRegistry(d, nil)
	err := d.changeLent(ctx, secret, func(l *lent) {
		l.drop(jobs)
		l.drop(r.abandoned(ctx, l))
	})
	if err != nil {
		return fmt.Errorf("taking the credentials of registries out of the secret %s: %w", secret, err)
	}
	return nil
}

// changeLent changes the secret, which others may change at the same time.
func (d *Driver) changeLent(ctx context.Context, secret string, change func(*lent)) error {
	const tries = 10
	for try := 1; ; try++ {
		there, err := d.api.Secret(ctx, secret)
		isNew := errors.Is(err, engine.ErrNotFound)
		if isNew {
			there, err = &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson}, nil
			there.Name = secret // without a NonceLabel: it belongs to no job
		}
		if err != nil {
			return err
		}
		l := readLent(there)
		change(l)
		l.write(there)
		if isNew {
			err = d.api.CreateSecret(ctx, there)
		} else {
			err = d.api.UpdateSecret(ctx, there)
		}
		if !errors.Is(err, kubeapi.ErrConflict) || try == tries {
			return err
		}
	}
}

// credentialsKind is what an inventory calls credentials of a job that are in such a secret.
const credentialsKind = "credentials"

// lent is what such a secret holds.
type lent struct {
	config    auths
	borrowers map[string]borrower // by job
}

// borrower is a job with credentials in the secret.
type borrower struct {
	Labels       map[string]string `json:"labels"`
	Pod          string            `json:"pod"` // the runner's
	UID          string            `json:"uid"` // of Pod
	Since        time.Time         `json:"since"`
	Repositories []string          `json:"repositories"`
}

func readLent(secret *corev1.Secret) *lent {
	l := &lent{}
	_ = json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &l.config) // not ours: replaced
	_ = json.Unmarshal([]byte(secret.Annotations[keyLent]), &l.borrowers)  // as above
	if l.config.Auths == nil {
		l.config.Auths = map[string]auth{}
	}
	if l.borrowers == nil {
		l.borrowers = map[string]borrower{}
	}
	return l
}

// add notes that a job uses a repository.
func (l *lent) add(labels map[string]string, pod *corev1.Pod, repository string) {
	b, known := l.borrowers[labels[labelJob]]
	if !known {
		b = borrower{Labels: labels, Pod: pod.Name, UID: string(pod.UID), Since: time.Now()}
	}
	if !slices.Contains(b.Repositories, repository) {
		b.Repositories = append(b.Repositories, repository)
	}
	l.borrowers[labels[labelJob]] = b
}

// drop removes what only these jobs use.
func (l *lent) drop(jobs []string) {
	for _, job := range jobs {
		mine := l.borrowers[job].Repositories
		delete(l.borrowers, job)
		for _, repository := range mine {
			used := false
			for _, other := range l.borrowers {
				used = used || slices.Contains(other.Repositories, repository)
			}
			if !used {
				delete(l.config.Auths, repository)
			}
		}
	}
}

func (l *lent) write(secret *corev1.Secret) {
	config, err := json.Marshal(l.config)
	if err != nil {
		panic(err) // strings can be encoded
	}
	users, err := json.Marshal(l.borrowers)
	if err != nil {
		panic(err) // as above
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, keyLent, string(users))
	metav1.SetMetaDataLabel(&secret.ObjectMeta, keyLent, "true")
	secret.Data = map[string][]byte{corev1.DockerConfigJsonKey: config}
	l.own(secret)
}

// own has the cluster delete the secret when the pods of all who borrowed are gone, unless there are accounts of somebody else in
// it. The last borrowers stay its owners when they have given everything back.
func (l *lent) own(secret *corev1.Secret) {
	borrowed := map[string]bool{}
	owners := map[types.UID]metav1.OwnerReference{}
	for _, b := range l.borrowers {
		for _, repository := range b.Repositories {
			borrowed[repository] = true
		}
		if uid := types.UID(b.UID); uid != "" {
			owners[uid] = metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: b.Pod, UID: uid}
		}
	}
	for repository := range l.config.Auths {
		if !borrowed[repository] {
			secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "Pod" })
			return
		}
	}
	if len(owners) > 0 {
		secret.OwnerReferences = slices.SortedFunc(maps.Values(owners), func(a, b metav1.OwnerReference) int { return strings.Compare(a.Name, b.Name) })
	}
}

func firstKey(pull map[string]engine.Credentials) string { return slices.Sorted(maps.Keys(pull))[0] }
