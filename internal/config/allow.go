package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Allow is one exception to the rule that requests to providers go to public
// addresses only: a range of addresses, or a host name.
type Allow struct {
	Prefix netip.Prefix // not valid where Host is set
	Host   string       // lower case; matches exactly this name
	Port   uint16       // 0: any
}

// ParseAllow reads one entry of outgoing.allow: "10.1.0.0/16", "10.1.2.3",
// "10.1.2.3:8443", "[fd00::1]:8443", "idp.internal" or "idp.internal:8443".
func ParseAllow(s string) (Allow, error) {
	bad := func() (Allow, error) {
		return Allow{}, fmt.Errorf("%q is neither a network (10.1.0.0/16), an address (10.1.2.3) nor a host (idp.internal), the latter two with a :port if need be", shorten(s))
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return bad()
		}
		return Allow{Prefix: p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return allowAddr(a, 0, bad)
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return allowAddr(ap.Addr(), ap.Port(), bad)
	}
	host, text, hasPort := strings.Cut(s, ":")
	var port uint64
	if hasPort {
		var err error
		if port, err = strconv.ParseUint(text, 10, 16); err != nil || port == 0 {
			return bad()
		}
	}
	if !isHost(host) {
		return bad()
	}
	return Allow{Host: strings.ToLower(host), Port: uint16(port)}, nil
}

func allowAddr(a netip.Addr, port uint16, bad func() (Allow, error)) (Allow, error) {
	if a.Zone() != "" {
		return bad()
	}
	a = a.Unmap()
	return Allow{Prefix: netip.PrefixFrom(a, a.BitLen()), Port: port}, nil
}

// isHost reports whether s is a DNS name (RFC 1123 section 2.1): labels of
// letters, digits and inner hyphens. The last label has a letter, or it would
// be a mistyped address.
func isHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	letter := false
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		letter = false
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
				letter = true
			case c >= '0' && c <= '9' || c == '-':
			default:
				return false
			}
		}
	}
	return letter
}

// Allowed parses the list. Entries that [Config.Validate] refuses are errors
// here too.
func (o Outgoing) Allowed() ([]Allow, error) {
	list := make([]Allow, 0, len(o.Allow))
	for _, entry := range o.Allow {
		a, err := ParseAllow(entry)
		if err != nil {
			return nil, fmt.Errorf("outgoing.allow: %w", err)
		}
		list = append(list, a)
	}
	return list, nil
}
