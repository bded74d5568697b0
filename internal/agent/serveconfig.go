package agent

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path"
	"strings"
)

// ServeConfig is the command line of `gantry-agent serve`, the first process of a container. Whoever makes the
// container writes it with Args, the agent reads it with ParseServe.
type ServeConfig struct {
	// Once ends the agent after its first step. Main says that the container has a program of its own: see Client.Main.
	Once, Main bool
	// Dir is the folder of socket and lease, as the container sees it; "" is MountPoint.
	Dir string
	// Listen is an address to listen on beside the socket, with the certificates in the folder TLS (ServerTLS).
	Listen, TLS string
	// Externals says where the programs are that steps ask for below a path which could not be mounted.
	Externals Externals
	// Links are made before anything else, in their order, and Hosts after them. What cannot be made is no failure:
	// Hello tells of it.
	Links []Link
	Hosts []Host
	// Ulimits are set then, too.
	Ulimits []Ulimit
}

// Link asks for a symbolic link in the container: where a mount would be, had the engine one for it.
type Link struct {
	Target string // where the link is to be, absolute and without "="
	Path   string // what it leads to
}

// Host asks for a line in the container's /etc/hosts.
type Host struct {
	Name string
	IP   string
}

// SocketPath is where the agent listens, as the container sees it.
func (c ServeConfig) SocketPath() string { return path.Join(c.dir(), SocketName) }

// LeasePath is the lease of an agent for one step, as the container sees it.
func (c ServeConfig) LeasePath() string { return path.Join(c.dir(), LeaseName) }

// StopPath is the file that ends the container, as the container sees it.
func (c ServeConfig) StopPath() string { return path.Join(c.dir(), StopName) }

func (c ServeConfig) dir() string {
	if c.Dir == "" {
		return MountPoint
	}
	return c.Dir
}

// Args are the arguments of the agent's program that mean c.
func (c ServeConfig) Args() []string {
	args := []string{"serve"}
	if c.Once {
		args = append(args, "--once")
	}
	if c.Main {
		args = append(args, "--main")
	}
	if c.Dir != "" {
		args = append(args, "--dir", c.Dir)
	}
	if c.Listen != "" {
		args = append(args, "--listen", c.Listen, "--tls", c.TLS)
	}
	if c.Externals != (Externals{}) {
		args = append(args, "--externals", c.Externals.Prefix+"="+c.Externals.Dir)
	}
	for _, l := range c.Links {
		args = append(args, "--link", l.Target+"="+l.Path)
	}
	for _, h := range c.Hosts {
		args = append(args, "--host", h.Name+"="+h.IP)
	}
	for _, u := range c.Ulimits {
		args = append(args, "--ulimit", u.String())
	}
	return args
}

// ParseServe reads the arguments behind "serve".
func ParseServe(args []string) (ServeConfig, error) {
	var c ServeConfig
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says it
	flags.BoolVar(&c.Once, "once", false, "")
	flags.BoolVar(&c.Main, "main", false, "")
	flags.StringVar(&c.Dir, "dir", "", "")
	flags.StringVar(&c.Listen, "listen", "", "")
	flags.StringVar(&c.TLS, "tls", "", "")
	flags.Func("externals", "", func(s string) (err error) { c.Externals, err = parseExternals(s); return err })
	flags.Func("link", "", func(s string) error { return c.addLink(s) })
	flags.Func("host", "", func(s string) error { return c.addHost(s) })
	flags.Func("ulimit", "", func(s string) error { return c.addUlimit(s) })
	if err := flags.Parse(args); err != nil {
		return c, fmt.Errorf("serve: %w", err)
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("serve takes no argument, not %q", flags.Args())
	}
	if (c.Listen == "") != (c.TLS == "") {
		return c, errors.New("serve: --listen and --tls belong together")
	}
	return c, nil
}

// Listener opens what the configuration asks for beside the socket; nil if it asks for nothing.
func (c ServeConfig) Listener() (net.Listener, error) {
	if c.Listen == "" {
		return nil, nil
	}
	config, err := ServerTLS(c.TLS)
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", c.Listen, config)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

func (c *ServeConfig) addLink(s string) error {
	target, leadsTo, ok := strings.Cut(s, "=")
	if !ok || !path.IsAbs(target) || path.Clean(target) == "/" || leadsTo == "" {
		return errors.New("a link is TARGET=PATH, and TARGET absolute")
	}
	c.Links = append(c.Links, Link{Target: target, Path: leadsTo})
	return nil
}

func (c *ServeConfig) addHost(s string) error {
	name, ip, ok := strings.Cut(s, "=")
	if _, err := netip.ParseAddr(ip); !ok || err != nil || name == "" || strings.ContainsAny(name, " \t\n#") {
		return errors.New("a host is NAME=IP")
	}
	c.Hosts = append(c.Hosts, Host{Name: name, IP: ip})
	return nil
}
