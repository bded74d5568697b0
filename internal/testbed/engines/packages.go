package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/gantry-ci/gantry/internal/testbed/kubenode"
)

// requirement is a program that a part of the bed runs, and the Debian package that has it.
type requirement struct {
	program string // a name on the clean PATH, or an absolute path
	pkg     string
	parts   []string // of the bed, or "browser", which comes with the usual ones; empty: any
}

func requirements() []requirement {
	podman := []string{"podman", "rootless"}
	rootless := []string{"rootless"}
	kubernetes := []string{"kubernetes"}
	return []requirement{
		{"/bin/busybox", "busybox-static", nil},
		{"bash", "bash", nil},
		{"ldd", "libc-bin", nil},
		{"dockerd", "docker.io", []string{"docker"}},
		{"docker", "docker.io", []string{"docker"}},
		{"iptables", "iptables", []string{"docker", "podman", "rootless", "kubernetes"}},
		{"podman", "podman", podman},
		{"runc", "runc", []string{"podman", "rootless", "kubernetes", "buildkit"}},
		{"/usr/lib/podman/netavark", "netavark", podman},
		{"/usr/lib/podman/aardvark-dns", "aardvark-dns", podman},
		{"newuidmap", "uidmap", rootless},
		{"useradd", "passwd", rootless},
		{"slirp4netns", "slirp4netns", rootless},
		{"fuse-overlayfs", "fuse-overlayfs", rootless},
		{"docker-registry", "docker-registry", []string{"registry", "kubernetes"}},
		{"buildah", "buildah", []string{"registry"}}, // it builds for registries
		{"containerd", "containerd", kubernetes},
		{"ctr", "containerd", kubernetes},
		{"/usr/lib/cni/bridge", "containernetworking-plugins", kubernetes},
		{"nft", "nftables", kubernetes},
		{"ip", "iproute2", kubernetes},
		// What tests of everything need beside engines: a browser for pages, node for JavaScript actions.
		{"chromium", "chromium", []string{"browser"}},
		{"node", "nodejs", []string{"browser"}},
	}
}

// planPackages lists, once each, the packages of the programs that are missing for these parts.
func planPackages(only []string, present func(program string) bool) []string {
	if len(only) == 0 {
		only = append(usual(), "browser")
	}
	var packages []string
	for _, r := range requirements() {
		wanted := len(r.parts) == 0 ||
			slices.ContainsFunc(r.parts, func(part string) bool { return slices.Contains(only, part) })
		if wanted && !present(r.program) && !slices.Contains(packages, r.pkg) {
			packages = append(packages, r.pkg)
		}
	}
	return packages
}

func present(name string) bool {
	if strings.HasPrefix(name, "/") {
		_, err := exec.LookPath(name)
		return err == nil
	}
	_, err := program(name)
	return err == nil
}

// Prepare sees that everything is there that the parts need. As root on Debian or Ubuntu it installs what is
// missing; anywhere else its error says what to install.
func Prepare(ctx context.Context, only []string, talk io.Writer) error {
	missing := planPackages(only, present)
	if os.Geteuid() != 0 {
		return fmt.Errorf("engines for tests are started as root; run this as root%s", toInstall(missing))
	}
	if err := supply(ctx, only, missing, talk); err != nil {
		return err
	}
	return Build(ctx, only, talk)
}

// Build makes the programs of the parts that no package has. Where they have been made before, it does nothing.
func Build(ctx context.Context, only []string, talk io.Writer) error {
	if slices.Contains(only, "buildkit") {
		if _, err := buildBuildKit(ctx, talk); err != nil {
			return err
		}
	}
	if !slices.Contains(only, "kubernetes") {
		return nil
	}
	_, err := kubenode.Build(ctx, talk)
	return err
}

// supply installs packages.
func supply(ctx context.Context, only, missing []string, talk io.Writer) error {
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("/usr/bin/apt-get"); err != nil || !debian() {
		return errors.New("this is neither Debian nor Ubuntu" + toInstall(missing))
	}
	fmt.Fprintf(talk, "testbed: installing %s\n", strings.Join(missing, " "))
	if err := install(ctx, missing); err != nil {
		return err
	}
	if missing = planPackages(only, present); len(missing) > 0 {
		return errors.New("packages do not have what was expected in them" + toInstall(missing))
	}
	return nil
}

func toInstall(packages []string) string {
	if len(packages) == 0 {
		return ""
	}
	var programs []string
	for _, r := range requirements() {
		if slices.Contains(packages, r.pkg) && !present(r.program) {
			programs = append(programs, r.program)
		}
	}
	return fmt.Sprintf("; missing here: %s (Debian: apt-get install --no-install-recommends %s)",
		strings.Join(programs, ", "), strings.Join(packages, " "))
}

// debian tells Debian and its children, which have the same package names.
func debian() bool {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name == "ID" || name == "ID_LIKE" {
			for _, id := range strings.Fields(strings.Trim(value, `"`)) {
				if id == "debian" || id == "ubuntu" {
					return true
				}
			}
		}
	}
	return false
}

func install(ctx context.Context, packages []string) error {
	for _, args := range [][]string{
		{"update"},
		append([]string{"install", "--yes", "--no-install-recommends"}, packages...),
	} {
		cmd := exec.CommandContext(ctx, "/usr/bin/apt-get", args...)
		cmd.Env = append(cmd.Environ(), "DEBIAN_FRONTEND=noninteractive", "PATH="+cleanPath)
		if _, err := finish(cmd); err != nil {
			return fmt.Errorf("installing packages: %w", err)
		}
	}
	return nil
}
