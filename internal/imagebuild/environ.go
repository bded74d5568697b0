package imagebuild

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// environment is a process' environment: NAME=VALUE, of which the last one of a name counts.
type environment []string

func (e environment) get(name string) string {
	value := ""
	for _, entry := range e {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

func (e environment) with(name, value string) environment {
	return append(slices.Clip(e), name+"="+value)
}

// only is the part of an environment with these names.
func (e environment) only(names ...string) environment {
	var chosen environment
	for _, name := range names {
		if value := e.get(name); value != "" {
			chosen = append(chosen, name+"="+value)
		}
	}
	return chosen
}

// proxies are the names of variables that say how the world is reached, certificates those of whom to trust.
func proxies() []string {
	return []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}
}

func certificates() []string { return []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} }

// hasPassword tells whether a proxy's address has one.
func hasPassword(proxy string) bool {
	parsed, err := url.Parse(proxy)
	return err != nil || parsed.User != nil
}

// besides adds a host to the addresses that are reached without a proxy, if there are proxies.
func (e environment) besides(address string) environment {
	_, rest, ok := strings.Cut(address, "://")
	if !ok {
		return e
	}
	host, _, err := net.SplitHostPort(rest)
	if err != nil {
		return e
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		e = e.with(name, strings.TrimPrefix(e.get(name)+","+host, ","))
	}
	return e
}
