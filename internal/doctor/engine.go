package doctor

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// answerLimit is how long an engine may take to answer at all: an API server that cannot be reached is asked again and again.
const answerLimit = 20 * time.Second

func checkEngine(ctx context.Context, e *exam) Finding {
	if e.ConfigErr != nil {
		return skipped("the configuration has to be valid first")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("no answer within %s", answerLimit))
	defer cancel()
	eng, err := e.OpenEngine(ctx)
	if err != nil {
		return failed(err)
	}
	info, err := eng.Info(ctx)
	if err != nil {
		return failed(err)
	}
	e.engine, e.info = eng, info
	if info.Name == kube.Name {
		return ok("%s %s answers (client %s)", info.Name, info.ServerVersion, info.ClientVersion)
	}
	mode := "as root"
	if info.Rootless {
		mode = "rootless"
	}
	version := info.ServerVersion
	if info.ClientVersion != version {
		version += " (client " + info.ClientVersion + ")"
	}
	return ok("%s %s at %s, %s, cgroups v%s", info.Name, version, info.Path, mode, info.CgroupVersion)
}

// Free space below which jobs are likely to fail, and below which almost nothing works.
const (
	littleSpace = 5 << 30
	noSpace     = 500 << 20
)

func checkStorage(_ context.Context, e *exam) Finding {
	if e.engine == nil {
		return skipped("the engine has to answer first")
	}
	if e.info.Name == kube.Name {
		return skipped("nodes have their own")
	}
	what := fmt.Sprintf("driver %s in %s", e.info.StorageDriver, e.info.StorageRoot)
	if e.info.StorageDriver == "vfs" {
		return warn(verdict.Infrastructure, "install fuse-overlayfs, or use a kernel and file system with overlayfs",
			"%s: the vfs driver copies whole images for every container", what)
	}
	f := space(e.info.StorageRoot, "free space there: gantry gc --images, or the engine's `system prune`")
	f.Detail = what + ", " + f.Detail
	return f
}

// space judges the free space below a folder.
func space(dir, next string) Finding {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return skipped("its free space cannot be seen from here: %v", err)
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	const form = "%.1f GiB free"
	gib := float64(free) / (1 << 30)
	switch {
	case st.Files > 0 && st.Ffree == 0:
		return fail(verdict.Infrastructure, next, "no free inodes")
	case free < noSpace:
		return fail(verdict.Infrastructure, next, form, gib)
	case free < littleSpace:
		return warn(verdict.Infrastructure, next, form, gib)
	}
	return ok(form, gib)
}

func checkSELinux(_ context.Context, e *exam) Finding {
	enforce, err := os.ReadFile("/sys/fs/selinux/enforce")
	if err != nil || strings.TrimSpace(string(enforce)) != "1" {
		return skipped("not enforcing on this machine")
	}
	if e.ConfigErr != nil {
		return skipped("the configuration has to be valid first")
	}
	if e.info.Name == kube.Name {
		return skipped("nodes label the volumes of pods themselves")
	}
	if slices.ContainsFunc(e.Config.MountOptions, func(o string) bool { return strings.EqualFold(o, "z") }) {
		return ok("enforcing, and mounts are relabelled (mount_options: [%s])", strings.Join(e.Config.MountOptions, ", "))
	}
	if e.engine != nil && !e.info.SELinux {
		return ok("enforcing, but %s does not confine containers by it", e.info.Name)
	}
	return warn(verdict.Configuration, "set mount_options: [z] in gantry.yaml",
		"enforcing: containers may not read the work folder unless mounts are relabelled")
}

// checkSocket finds out whether the runner's user may use the engine. Groups are those of a process since its start:
// a runner that was started before its user came into the group does not have it.
func checkSocket(_ context.Context, e *exam) Finding {
	info, err := os.Stat(e.info.Socket)
	if e.info.Socket == "" || err != nil {
		return skipped("the engine is not reached by a local socket")
	}
	sys, isStat := info.Sys().(*syscall.Stat_t)
	if e.Runner == nil || !isStat {
		return ok("%s can be used by this user", e.info.Socket)
	}
	uid, gid := e.Runner.UID, int(sys.Gid)
	if uid == 0 || uid == int(sys.Uid) || info.Mode().Perm()&0o006 == 0o006 {
		return ok("%s can be used by the runner's user", e.info.Socket)
	}
	next := fmt.Sprintf("add the runner's user to the socket's group (usermod -aG %s USER) and restart the runner", groupName(gid))
	if !slices.Contains(groupsOf(uid), gid) {
		return fail(verdict.Configuration, next, "%s belongs to group %s, and the runner's user (uid %d) is not in it", e.info.Socket, groupName(gid), uid)
	}
	if p := e.Runner.Listener(); p != nil && !slices.Contains(groupsOfProcess(p), gid) {
		return fail(verdict.Configuration, "restart the runner",
			"the runner (pid %d) was started before its user came into group %s", p.PID, groupName(gid))
	}
	return ok("%s can be used by the runner's user, by group %s", e.info.Socket, groupName(gid))
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}

// userName is "" for a user that /etc/passwd does not know.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return ""
}

func groupsOf(uid int) []int {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return nil
	}
	names, err := u.GroupIds()
	if err != nil {
		return nil
	}
	return numbers(names)
}

// groupsOfProcess reads the line "Groups:" of /proc/PID/status.
func groupsOfProcess(p *runnerdir.Process) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return nil
	}
	var all []int
	for line := range strings.Lines(string(text)) {
		name, values, _ := strings.Cut(line, ":")
		if name == "Groups" || name == "Gid" {
			all = append(all, numbers(strings.Fields(values))...)
		}
	}
	return all
}

func numbers(words []string) []int {
	var all []int
	for _, word := range words {
		if n, err := strconv.Atoi(word); err == nil {
			all = append(all, n)
		}
	}
	return all
}

func checkSubIDs(_ context.Context, e *exam) Finding {
	if !e.info.Rootless {
		return skipped("only for rootless engines")
	}
	name := userName(e.UID)
	next := fmt.Sprintf("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s; podman system migrate", name)
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		text, err := os.ReadFile(file)
		if err != nil || !hasSubIDs(string(text), name, e.UID) {
			return fail(verdict.Infrastructure, next, "%s has no range for the user %s: images with several users cannot be unpacked", file, name)
		}
	}
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if firstFile("/usr/bin/"+program, "/bin/"+program, "/usr/local/bin/"+program) == "" {
			return fail(verdict.Infrastructure, "install it (package uidmap or shadow-utils)", "there is no %s", program)
		}
	}
	return ok("/etc/subuid and /etc/subgid have ranges for %s", name)
}

func hasSubIDs(text, name string, uid int) bool {
	for line := range strings.Lines(text) {
		who, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && who != "" && (who == name || who == strconv.Itoa(uid)) {
			return true
		}
	}
	return false
}

func checkNames(context.Context, *exam) Finding {
	var all []string
	for _, program := range []string{"podman/aardvark-dns", "cni/dnsname"} {
		for _, dir := range []string{"/usr/lib", "/usr/libexec", "/usr/local/lib", "/usr/local/libexec", "/opt"} {
			all = append(all, filepath.Join(dir, program))
		}
	}
	all = append(all, "/opt/cni/bin/dnsname", "/usr/bin/aardvark-dns")
	if found := firstFile(all...); found != "" {
		return ok("%s is there", found)
	}
	return warn(verdict.Infrastructure, "install netavark and aardvark-dns",
		"there is no name server for networks: job containers could not reach services by name")
}

// checkSession is about users whose session ends with their log-out, and whose containers would end with it.
func checkSession(_ context.Context, e *exam) Finding {
	if !e.info.Rootless {
		return skipped("only for rootless engines")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return skipped("this machine does not run systemd")
	}
	name := userName(e.UID)
	if firstFile("/var/lib/systemd/linger/"+name) == "" {
		return warn(verdict.Infrastructure, "loginctl enable-linger "+name,
			"the session of %s ends with the last log-out, and its containers with it", name)
	}
	if e.getenv("XDG_RUNTIME_DIR") == "" {
		return warn(verdict.Configuration, fmt.Sprintf("add XDG_RUNTIME_DIR=/run/user/%d to the runner's .env file", e.UID),
			"XDG_RUNTIME_DIR is not set: a service has it only if it is told")
	}
	return ok("%s may linger, XDG_RUNTIME_DIR is %s", name, e.getenv("XDG_RUNTIME_DIR"))
}

// firstFile is the first path that exists; "" for none.
func firstFile(paths ...string) string {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}
