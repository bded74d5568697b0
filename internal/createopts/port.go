package createopts

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Range is a run of ports; First equals Last for a single one.
type Range struct{ First, Last uint16 }

// Port is one entry of `ports:`.
type Port struct {
	HostIP netip.Addr // invalid: all addresses
	// Host is the port on the host; zero: one that the engine chooses.
	Host      Range
	Container Range
	Protocol  string // "tcp", "udp" or "sctp"
}

// ParsePort reads "6379", "6379/tcp", "8080:80", "8080:80/udp", "127.0.0.1:8080:80", "[::1]:8080:80",
// "8000-8010:8000-8010"; a missing or zero host port ("127.0.0.1::80", ":80") is one that the engine chooses.
// Errors name the text and the reason.
func ParsePort(text string) (Port, error) {
	p, err := parsePort(text)
	if err != nil {
		return Port{}, fmt.Errorf("port %q: %w", text, err)
	}
	return p, nil
}

func parsePort(text string) (p Port, err error) {
	if text == "" {
		return p, fmt.Errorf("is empty: write CONTAINER_PORT or HOST_PORT:CONTAINER_PORT")
	}
	if strings.Contains(text, ",") {
		return p, fmt.Errorf("holds several ports: write one entry for each")
	}
	numbers, protocol, given := strings.Cut(text, "/")
	if p.Protocol = strings.ToLower(protocol); !given {
		p.Protocol = "tcp"
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" && p.Protocol != "sctp" {
		return p, fmt.Errorf("the protocol %q is none of tcp, udp and sctp", protocol)
	}
	address, host, container, err := cutPort(numbers)
	if err != nil {
		return p, err
	}
	if p.HostIP, err = parseAddress(address); err != nil {
		return p, err
	}
	if p.Container, err = parseRange("container", container, 1); err != nil {
		return p, err
	}
	if host == "" {
		return p, nil
	}
	if p.Host, err = parseRange("host", host, 0); err != nil {
		return p, err
	}
	return p, p.checkRanges()
}

// cutPort cuts "[address:][host:]container".
func cutPort(text string) (address, host, container string, err error) {
	front, container := cutLast(text)
	address, host = cutLast(front)
	switch {
	case container == "":
		err = fmt.Errorf("the container port after the last \":\" is missing")
	case strings.HasPrefix(text, "[") || strings.Count(text, ":") <= 2:
	default:
		err = fmt.Errorf("has too many \":\"; an IPv6 address stands in brackets, as in [::1]:8080:80")
	}
	return address, host, container, err
}

// cutLast cuts at the last ":"; what has none is all after.
func cutLast(text string) (before, after string) {
	i := strings.LastIndexByte(text, ':')
	return text[:max(i, 0)], text[i+1:]
}

func parseAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	inner, bracketed := strings.CutPrefix(text, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return netip.Addr{}, fmt.Errorf("the bracket of %q is not closed", text)
		}
	}
	address, err := netip.ParseAddr(inner)
	if err != nil || bracketed != address.Is6() {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address of the host", text)
	}
	return address, nil
}

func parseRange(which, text string, least uint64) (Range, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, errFrom := parseNumber(first)
	to, errTo := parseNumber(last)
	switch {
	case errFrom != nil || errTo != nil:
		return Range{}, fmt.Errorf("the %s port %q is not a number from %d to 65535", which, text, least)
	case from < least || isRange && from == 0:
		return Range{}, fmt.Errorf("the %s port cannot be 0", which)
	case from > to:
		return Range{}, fmt.Errorf("the %s ports %q run backwards", which, text)
	}
	return Range{uint16(from), uint16(to)}, nil
}

// parseNumber accepts digits only: no sign, no blanks, no underscores.
func parseNumber(text string) (uint64, error) {
	return strconv.ParseUint(text, 10, 16)
}

// checkRanges compares the lengths of both ranges. A single container port may choose from several host ports.
func (p Port) checkRanges() error {
	hosts, containers := p.Host.Last-p.Host.First, p.Container.Last-p.Container.First
	if p.Host.Last != 0 && hosts != containers && containers != 0 || p.Host.Last == 0 && containers != 0 {
		return fmt.Errorf("%d host ports cannot serve %d container ports", int(hosts)+1, int(containers)+1)
	}
	return nil
}

// String gives the port in the engines' notation; ParsePort reads it back to the same Port.
func (p Port) String() string {
	text := p.Container.String() + "/" + p.Protocol
	host := ""
	if p.Host.Last != 0 {
		host = p.Host.String()
	}
	switch {
	case p.HostIP.Is6():
		return "[" + p.HostIP.String() + "]:" + host + ":" + text
	case p.HostIP.IsValid():
		return p.HostIP.String() + ":" + host + ":" + text
	case host != "":
		return host + ":" + text
	}
	return text
}

// String gives "80" or "8000-8010".
func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}
