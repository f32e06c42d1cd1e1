package oauth

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ErrAddressRefused is wrapped by the error of a dial to an address that is
// not public and not allowed.
var ErrAddressRefused = errors.New("oauth: address is not public")

// Exception allows addresses that are not public: those of a prefix, or those
// that a host name resolves to. A name never allows link-local addresses and
// those of cloud metadata services: who can change the name would get the
// machine's own credentials. Allow them by prefix if they are meant.
type Exception struct {
	Prefix netip.Prefix // not valid where Host is set
	Host   string       // exactly this name, without regard to case
	Port   uint16       // 0: any
}

// allowlist is a set of exceptions.
type allowlist []Exception

// host reports whether a name may resolve to any address.
func (l allowlist) host(name string, port uint16) bool {
	name = strings.TrimSuffix(name, ".")
	for _, e := range l {
		if e.Host != "" && strings.EqualFold(strings.TrimSuffix(e.Host, "."), name) && (e.Port == 0 || e.Port == port) {
			return true
		}
	}
	return false
}

// checkNamed refuses an address that not even an allowed name may lead to.
func (l allowlist) checkNamed(at netip.AddrPort) error {
	if !within(notByName, at.Addr().Unmap().WithZone("")) {
		return nil
	}
	return l.check(at)
}

// check refuses an address that is neither public nor allowed.
func (l allowlist) check(at netip.AddrPort) error {
	addr := at.Addr().Unmap()
	if isPublic(addr) {
		return nil
	}
	for _, e := range l {
		if e.Host == "" && e.Prefix.IsValid() && e.Prefix.Contains(addr.WithZone("")) && (e.Port == 0 || e.Port == at.Port()) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrAddressRefused, addr)
}

// Networks from the special-purpose registries of IANA (RFC 6890) that are not
// on the public Internet. IPv6 is public within 2000::/3 only.
var (
	notPublic4 = prefixes(
		"168.63.129.16/32", // the host of an Azure machine; public in form only
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
	)
	notByName = prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "::/128", "fe80::/10", "ff00::/8",
		"168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128",
	)
	public6    = netip.MustParsePrefix("2000::/3")
	notPublic6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	// nat64 embeds an IPv4 address in its last four bytes (RFC 6052), for hosts
	// that have IPv6 only.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// isPublic reports whether an address is one of the public Internet: not
// private, loopback, link-local, carrier-grade NAT, multicast, unspecified or
// otherwise reserved.
func isPublic(addr netip.Addr) bool {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	if addr.Is4() {
		return !within(notPublic4, addr)
	}
	if nat64.Contains(addr) {
		b := addr.As16()
		return isPublic(netip.AddrFrom4([4]byte(b[12:])))
	}
	return public6.Contains(addr) && !within(notPublic6, addr)
}

func within(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
