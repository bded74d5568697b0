package kubetest

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Claim makes a volume claim. On the testbed's own node it is bound to a folder of this machine; in a foreign cluster it
// is one of the default class, for one node. It goes with the test.
func (c *Cluster) Claim(t testing.TB, namespace string, mode corev1.PersistentVolumeAccessMode) string {
	t.Helper()
	name := "work-" + strings.ToLower(rand.Text()[:10])
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: volumeSize()},
		},
	}
	if !c.foreign() {
		claim.Spec.AccessModes[0], claim.Spec.StorageClassName, claim.Spec.VolumeName = mode, new(""), name
		c.volume(t, namespace, name, claim.Spec.AccessModes)
	}
	c.Create(t, claim)
	return name
}

func volumeSize() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
}

// volume makes the volume of a claim, both of one name.
func (c *Cluster) volume(t testing.TB, namespace, name string, modes []corev1.PersistentVolumeAccessMode) {
	t.Helper()
	dir := c.volumeFolder(name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatalf("making a volume: %v", err)
	}
	t.Cleanup(func() { c.dropVolume(t, name, dir) })
	c.Create(t, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: volumeSize(), AccessModes: modes,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &corev1.ObjectReference{Namespace: namespace, Name: name},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
		},
	})
}

// dropVolume deletes a volume; its folder is emptied although a pod may not have ended yet.
func (c *Cluster) dropVolume(t testing.TB, name, dir string) {
	ctx, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	if err := c.Delete(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Errorf("deleting a volume: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Errorf("deleting the folder of a volume: %v", err)
	}
}

// volumeFolder is where the volume of a claim lies on this machine.
func (c *Cluster) volumeFolder(claim string) string { return filepath.Join(c.Share, "volume-"+claim) }
