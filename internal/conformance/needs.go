package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// needNames are the words of a case's needs.
func needNames() []string {
	return []string{
		"bash",           // an image with bash
		"docker",         // the engine is Docker
		"podman",         // the engine is Podman
		"root",           // the suite runs as root
		"rootful",        // containers are not those of an ordinary user
		"given-registry", // --registry was given
	}
}

// missing says which need of a case cannot be met; "" for none.
func (s *Suite) missing(needs []string) string {
	has := map[string]bool{
		"bash":           s.images["bash"] != "",
		"docker":         s.Engine.Name == "docker",
		"podman":         s.Engine.Name == "podman",
		"root":           s.UID == 0,
		"rootful":        !s.Engine.Rootless,
		"given-registry": s.Registry.Host != "",
	}
	lacking := slices.DeleteFunc(slices.Clone(needs), func(need string) bool { return has[need] })
	if len(lacking) == 0 {
		return ""
	}
	return fmt.Sprintf("it needs %s", strings.Join(lacking, ", "))
}
