package cli

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gantry-ci/gantry/internal/podspec/rbac"
)

// rbacOptions are the flags of `gantry rbac`.
type rbacOptions struct {
	file                            string // --config
	mode, volume                    string
	namespace, name, serviceAccount string
}

func newRBACCmd(p *Process) *cobra.Command {
	var o rbacOptions
	cmd := &cobra.Command{
		Use:   "rbac",
		Short: "Print the Role and RoleBinding that a runner in Kubernetes needs, and no more",
		Example: `  gantry rbac --mode in-pod --namespace ci --service-account runner | kubectl apply -f -
  gantry rbac --mode pod --volume none --service-account runner`,
		Long: `Each rule tells what it is for; some are not necessary, and say what is worse without them. With mode auto, the Role
is for any mode: gantry chooses among those that are permitted.`,
		Args:        onlyFlags,
		Annotations: exits("printed", "never"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.file = cmd.Flag("config").Value.String()
			return runRBAC(p, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.mode, "mode", "", "in-pod, pod or auto (default: kubernetes.mode of the configuration)")
	f.StringVar(&o.volume, "volume", "", "of mode pod: shared, none or auto (default: kubernetes.volume)")
	f.StringVar(&o.namespace, "namespace", "", "the runner's namespace (default: kubernetes.namespace, or where the Role is applied)")
	f.StringVar(&o.serviceAccount, "service-account", "default", "the service account of the runner's pod")
	f.StringVar(&o.name, "name", "gantry", "the name of the Role and of the RoleBinding")
	return cmd
}

func runRBAC(p *Process, o rbacOptions) error {
	place, err := p.place("")
	if err != nil {
		return err
	}
	cfg, err := loadFrom(place.sources(o.file))
	if err != nil {
		return err
	}
	need := rbac.Need{Mode: cmp.Or(o.mode, cfg.Kubernetes.Mode), Volume: cmp.Or(o.volume, cfg.Kubernetes.Volume)}
	if modes := []string{rbac.InPod, rbac.Pod, rbac.Auto}; !slices.Contains(modes, need.Mode) {
		return usagef("--mode is %s, not %q", strings.Join(modes, ", "), need.Mode)
	}
	if volumes := []string{rbac.Shared, rbac.None, rbac.Auto}; !slices.Contains(volumes, need.Volume) {
		return usagef("--volume is %s, not %q", strings.Join(volumes, ", "), need.Volume)
	}
	namespace := cmp.Or(o.namespace, cfg.Kubernetes.Namespace)
	for _, named := range []struct{ flag, name string }{
		{"--namespace", cmp.Or(namespace, "any")}, {"--service-account", o.serviceAccount}, {"--name", o.name},
	} {
		if wrong := validation.IsDNS1123Subdomain(named.name); wrong != nil {
			return usagef("%s %q is no name in Kubernetes: %s", named.flag, named.name, wrong[0])
		}
	}
	_, err = io.WriteString(p.Stdout, rbac.Role(need, namespace, o.name, o.serviceAccount))
	return err
}
