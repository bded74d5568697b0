package engines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// rootlessUser is the account of the Podman without root. It stays on the machine, as packages do.
const rootlessUser = "gantrytest"

// startPodman sets up a Podman for root. Podman has no daemon: it runs once its first command has succeeded.
func (b *Bed) startPodman(ctx context.Context) error {
	engine, err := b.newEngine("podman", "podman")
	if err != nil {
		return err
	}
	dir := filepath.Join(b.Dir, "podman")
	conf := filepath.Join(dir, "etc")
	session := filepath.Join(dir, "session") // where `podman login` puts passwords
	if err := os.Mkdir(session, 0o700); err != nil {
		return fmt.Errorf("making XDG_RUNTIME_DIR: %w", err)
	}
	engine.Env = append(engine.Env,
		"XDG_RUNTIME_DIR="+session,
		"CONTAINERS_CONF="+filepath.Join(conf, "containers.conf"),
		"CONTAINERS_STORAGE_CONF="+filepath.Join(conf, "storage.conf"),
		"CONTAINERS_REGISTRIES_CONF="+filepath.Join(conf, "registries.conf"))
	files := podmanConfig{
		driver:     storageDriver(b.Dir),
		graphRoot:  filepath.Join(dir, "data"),
		runRoot:    filepath.Join(dir, "run"),
		networks:   filepath.Join(dir, "networks"),
		temporary:  filepath.Join(dir, "tmp"),
		registries: b.registryAddr,
	}
	if err := files.write(conf); err != nil {
		return err
	}
	if err := run(ctx, engine, "info"); err != nil {
		return err
	}
	return b.record(func(s *state) { s.Facts.Podman = engine })
}

// startRootless sets up a Podman for an ordinary user, whose home is in the bed.
func (b *Bed) startRootless(ctx context.Context) error {
	engine, err := b.newEngine("podman", "podman-rootless")
	if err != nil {
		return err
	}
	if engine.UID, engine.GID, err = ensureUser(ctx); err != nil {
		return err
	}
	if err := os.Chmod("/dev/net/tun", 0o666); err != nil { // slirp4netns; udev does the same elsewhere
		return fmt.Errorf("letting users have networks: %w", err)
	}
	runtime := filepath.Join(b.Dir, "podman-rootless", "run")
	engine.Env = append(engine.Env, "USER="+rootlessUser, "LOGNAME="+rootlessUser, "XDG_RUNTIME_DIR="+runtime)
	files := podmanConfig{
		driver:     storageDriver(b.Dir),
		graphRoot:  filepath.Join(engine.Home, ".local/share/containers/storage"),
		runRoot:    filepath.Join(runtime, "containers"),
		networks:   filepath.Join(engine.Home, ".local/share/containers/networks"),
		temporary:  filepath.Join(runtime, "libpod/tmp"),
		registries: b.registryAddr,
	}
	if err := files.write(filepath.Join(engine.Home, ".config/containers")); err != nil {
		return err
	}
	if err := give(filepath.Dir(engine.Home), engine); err != nil {
		return err
	}
	if err := os.Mkdir(runtime, 0o700); err != nil {
		return fmt.Errorf("making XDG_RUNTIME_DIR: %w", err)
	}
	if err := os.Chown(runtime, engine.UID, engine.GID); err != nil {
		return fmt.Errorf("making XDG_RUNTIME_DIR: %w", err)
	}
	if err := run(ctx, engine, "info"); err != nil {
		return err
	}
	return b.record(func(s *state) { s.Facts.Rootless = engine })
}

// give makes a tree the engine user's own.
func give(dir string, engine *testbed.Engine) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, engine.UID, engine.GID))
	})
}

// ensureUser returns the ids of the rootless user, made if it is missing. useradd also gives subordinate ids.
func ensureUser(ctx context.Context) (uid, gid int, err error) {
	account, err := user.Lookup(rootlessUser)
	if errors.As(err, new(user.UnknownUserError)) {
		cmd := exec.CommandContext(ctx, "useradd", "--create-home", rootlessUser)
		cmd.Env = []string{"PATH=" + cleanPath}
		if _, err := finish(cmd); err != nil {
			return 0, 0, err
		}
		account, err = user.Lookup(rootlessUser)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("looking for the user %s: %w", rootlessUser, err)
	}
	uid, err = strconv.Atoi(account.Uid)
	if err == nil {
		gid, err = strconv.Atoi(account.Gid)
	}
	return uid, gid, err
}

// podmanConfig is what makes a Podman independent of others on the machine.
type podmanConfig struct {
	driver, graphRoot, runRoot, networks, temporary string
	registries                                      string // the address of a registry without TLS
}

func (c podmanConfig) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("configuring podman: %w", err)
	}
	for name, lines := range map[string][]string{
		"containers.conf": c.containers(),
		"storage.conf":    c.storage(),
		"registries.conf": c.registry(),
	} {
		text := strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("configuring podman: %w", err)
		}
	}
	return nil
}

func (c podmanConfig) containers() []string {
	return []string{
		"[containers]",
		// crun cannot raise limits where CAP_SYS_RESOURCE is missing.
		`default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]`,
		"[engine]",
		`runtime = "runc"`, // crun refuses hybrid cgroups
		`cgroup_manager = "cgroupfs"`,
		`events_logger = "file"`,
		// The default, shared memory, is one segment for the whole machine, and a new Podman clears it.
		`lock_type = "file"`,
		fmt.Sprintf("tmp_dir = %q", c.temporary),
		"[network]",
		`network_backend = "netavark"`,
		fmt.Sprintf("network_config_dir = %q", c.networks),
	}
}

func (c podmanConfig) storage() []string {
	return []string{
		"[storage]",
		fmt.Sprintf("driver = %q", c.driver),
		fmt.Sprintf("graphroot = %q", c.graphRoot),
		fmt.Sprintf("runroot = %q", c.runRoot),
	}
}

func (c podmanConfig) registry() []string {
	return []string{
		"unqualified-search-registries = []",
		"[[registry]]",
		fmt.Sprintf("location = %q", c.registries),
		"insecure = true",
	}
}
