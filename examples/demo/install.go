package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// requirement is a Debian package and how to see that it is not needed any more.
type requirement struct {
	pkg   string
	there func() bool
}

func requirements(withEngine bool) []requirement {
	has := func(name string) func() bool { return func() bool { return program(name) != "" } }
	file := func(path string) func() bool {
		return func() bool { _, err := os.Stat(path); return err == nil }
	}
	all := []requirement{{"busybox-static", func() bool { return isStatic("/bin/busybox") }}}
	if !withEngine {
		return all
	}
	all = append(all,
		requirement{"podman", has("podman")},
		requirement{"runc", has("runc")},
		requirement{"netavark", file("/usr/lib/podman/netavark")},
		requirement{"aardvark-dns", file("/usr/lib/podman/aardvark-dns")},
		requirement{"iptables", has("iptables")},
	)
	if os.Geteuid() == 0 {
		return all
	}
	return append(all,
		requirement{"uidmap", has("newuidmap")},
		requirement{"slirp4netns", has("slirp4netns")},
		requirement{"fuse-overlayfs", has("fuse-overlayfs")},
	)
}

// missingPackages lists what has to be installed: for the images, and for Podman if there is no engine.
func missingPackages(withEngine bool) []string {
	var names []string
	for _, r := range requirements(withEngine) {
		if !r.there() {
			names = append(names, r.pkg)
		}
	}
	return names
}

// install installs Debian packages, as root or through sudo; elsewhere its error says what to install.
func (d *demo) install(ctx context.Context, packages []string) error {
	list := strings.Join(packages, " ")
	if program("apt-get") == "" {
		return fmt.Errorf("this machine has no apt-get. Please install Podman 4 or newer with netavark and aardvark-dns "+
			"(or start Docker), and a statically linked busybox as /bin/busybox, and run `make demo` again (Debian's names: %s)", list)
	}
	var prefix []string
	if os.Geteuid() != 0 {
		if program("sudo") == "" {
			return errors.New("please install what is missing as root, and run `make demo` again: apt-get install " + list)
		}
		prefix = []string{"sudo"}
	}
	d.log.say("installing %s", list)
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-q", "--yes", "--no-install-recommends"}, packages...)} {
		if err := aptGet(ctx, prefix, args); err != nil {
			return fmt.Errorf("%w\nplease install what is missing as root, and run `make demo` again: apt-get install %s", err, list)
		}
	}
	return nil
}

// installFor installs what a remedy needs, if it is not there.
func (d *demo) installFor(ctx context.Context, r remedy) error {
	if r.pkg == "" || program(r.pkg) != "" {
		return nil
	}
	return d.install(ctx, []string{r.pkg})
}

func aptGet(ctx context.Context, prefix, args []string) error {
	line := append(append(prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"), args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stdin = os.Stdin // sudo asks for a password
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(line, " "), err, out)
	}
	return nil
}
