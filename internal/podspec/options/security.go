package options

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/createopts"
)

// security is the container's security context, made if it has none.
func (t *translator) security() *corev1.SecurityContext {
	if t.c.SecurityContext == nil {
		t.c.SecurityContext = &corev1.SecurityContext{}
	}
	return t.c.SecurityContext
}

// podSecurity is the pod's.
func (t *translator) podSecurity() *corev1.PodSecurityContext {
	if t.pod.Spec.SecurityContext == nil {
		t.pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	return t.pod.Spec.SecurityContext
}

// user reads "UID", "UID:GID" or ":GID". The names are in the image, where Kubernetes does not look them up.
func (t *translator) user(f createopts.Flag) {
	user, group, _ := strings.Cut(f.Value, ":")
	if id := t.numericID(f, user); id != nil {
		t.security().RunAsUser = id
	}
	if id := t.numericID(f, group); id != nil {
		t.security().RunAsGroup = id
	}
}

// numericID reads the number of a user or group; nil for a name, which is noted, and for "".
func (t *translator) numericID(f createopts.Flag, text string) *int64 {
	id, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err == nil:
		return new(int64(id))
	case text != "":
		t.note(f, "Kubernetes looks up no names in the image: write %q as a number", text)
	}
	return nil
}

func (t *translator) groups(uses []createopts.Flag) {
	for _, f := range uses {
		id := t.numericID(f, f.Value)
		if id == nil {
			continue
		}
		if s := t.podSecurity(); !slices.Contains(s.SupplementalGroups, *id) {
			s.SupplementalGroups = append(s.SupplementalGroups, *id)
		}
	}
}

func (t *translator) privileged(createopts.Flag) { t.security().Privileged = new(true) }

// settleSecurity takes back what the API server refuses beside what the options ask for: escalation forbidden to a
// privileged container, and not being root to root.
func (t *translator) settleSecurity() {
	s := t.c.SecurityContext
	if s == nil {
		return
	}
	if f, asked := t.last("security-opt"); s.Privileged != nil && *s.Privileged && s.AllowPrivilegeEscalation != nil {
		if s.AllowPrivilegeEscalation = nil; asked {
			t.note(f, "a privileged container cannot be kept from new privileges")
		}
	}
	if s.RunAsUser != nil && *s.RunAsUser == 0 {
		s.RunAsNonRoot = nil
	}
}

// capabilities reads names with and without CAP_, in any case. Podman allows several, separated by commas.
func (t *translator) capabilities(uses []createopts.Flag) {
	s := t.security()
	if s.Capabilities == nil {
		s.Capabilities = &corev1.Capabilities{}
	}
	list := &s.Capabilities.Add
	if uses[0].Name == "cap-drop" {
		list = &s.Capabilities.Drop
	}
	for _, f := range uses {
		for name := range strings.SplitSeq(f.Value, ",") {
			name = strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "CAP_")
			if name == "" {
				t.wrong(f, "the name of a capability is missing")
				continue
			}
			if !slices.Contains(*list, corev1.Capability(name)) {
				*list = append(*list, corev1.Capability(name))
			}
		}
	}
}

func (t *translator) readOnly(createopts.Flag) { t.security().ReadOnlyRootFilesystem = new(true) }

// securityOptions reads "NAME=VALUE", and docker's older "NAME:VALUE".
func (t *translator) securityOptions(uses []createopts.Flag) {
	for _, f := range uses {
		name, value := f.Value, ""
		if at := strings.IndexAny(f.Value, "=:"); at >= 0 {
			name, value = f.Value[:at], f.Value[at+1:]
		}
		switch name {
		case "no-new-privileges":
			t.security().AllowPrivilegeEscalation = new(value == "false")
		case "seccomp":
			t.seccomp(f, value)
		case "apparmor":
			t.appArmor(value)
		case "label":
			t.seLinux(f, value)
		case "systempaths", "unmask":
			t.note(f, "Kubernetes shows all of /proc only to pods with users of their own: the administrator can set "+
				"procMount and hostUsers in the runner's template")
		default:
			t.note(f, "%s", noSetting)
		}
	}
}

// seccomp knows the profiles that need no file: that of a path would lie on the runner.
func (t *translator) seccomp(f createopts.Flag, value string) {
	kinds := map[string]corev1.SeccompProfileType{
		"unconfined": corev1.SeccompProfileTypeUnconfined, "builtin": corev1.SeccompProfileTypeRuntimeDefault,
	}
	kind, known := kinds[value]
	if !known {
		t.note(f, "the profile would have to lie on the node: the administrator can name it in the runner's template "+
			"(seccompProfile)")
		return
	}
	t.security().SeccompProfile = &corev1.SeccompProfile{Type: kind}
}

func (t *translator) appArmor(value string) {
	switch value {
	case "unconfined":
		t.security().AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case "", "docker-default", "containers-default":
		t.security().AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	default:
		t.security().AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &value}
	}
}

// seLinux reads "disable" or one of "user:", "role:", "type:", "level:" with a value.
func (t *translator) seLinux(f createopts.Flag, value string) {
	s := t.security()
	options := &corev1.SELinuxOptions{}
	if s.SELinuxOptions != nil {
		options = s.SELinuxOptions
	}
	name, value, _ := strings.Cut(value, ":")
	switch name {
	case "disable":
		options.Type = "spc_t"
	case "user":
		options.User = value
	case "role":
		options.Role = value
	case "type":
		options.Type = value
	case "level":
		options.Level = value
	default:
		t.note(f, "%s", noSetting)
		return
	}
	s.SELinuxOptions = options
}

func (t *translator) sysctls(uses []createopts.Flag) {
	s := t.podSecurity()
	for _, f := range uses {
		name, value, has := strings.Cut(f.Value, "=")
		if !has || name == "" {
			t.wrong(f, "write NAME=VALUE")
			continue
		}
		s.Sysctls = slices.DeleteFunc(s.Sysctls, func(old corev1.Sysctl) bool { return old.Name == name })
		s.Sysctls = append(s.Sysctls, corev1.Sysctl{Name: name, Value: value})
	}
}
