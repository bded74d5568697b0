package kube

import (
	"errors"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/engine/kube/kubeapi"
)

func isPodSecurity(err error) bool { return errors.Is(err, kubeapi.ErrPodSecurity) }

// restrict makes a container keep to the Pod Security level "restricted". What it asks for already stays, so that what the
// level forbids is still refused.
func restrict(c *corev1.Container) {
	if c.SecurityContext == nil {
		c.SecurityContext = &corev1.SecurityContext{}
	}
	s := c.SecurityContext
	if s.AllowPrivilegeEscalation == nil {
		s.AllowPrivilegeEscalation = new(bool)
	}
	if s.RunAsNonRoot == nil {
		yes := true
		s.RunAsNonRoot = &yes
	}
	if s.SeccompProfile == nil {
		s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	if s.Capabilities == nil {
		s.Capabilities = &corev1.Capabilities{}
	}
	if len(s.Capabilities.Drop) == 0 {
		s.Capabilities.Drop = []corev1.Capability{"ALL"}
	}
}

// restrictPod does that for all containers of a pod.
func restrictPod(pod *corev1.Pod) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			restrict(&list[i])
			if c := &list[i]; c.Name == installer && c.SecurityContext.RunAsUser == nil {
				nobody := int64(65534) // who can copy a program; the image's user may be root, or have no number
				c.SecurityContext.RunAsUser = &nobody
			}
		}
	}
}
