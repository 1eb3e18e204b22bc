// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
)

// proxyPort validates --proxy-port.
func (o *InitRedirect) proxyPort() (uint16, error) {
	if o.ProxyPort < 1 || o.ProxyPort > math.MaxUint16 {
		return 0, &flagset.UsageError{Flag: "--proxy-port", Value: strconv.FormatInt(o.ProxyPort, 10), Problem: "is not a port: ports go from 1 to 65535"}
	}
	return uint16(o.ProxyPort), nil
}

// maxUID is the highest uid; the one above it, (uid_t)-1, means "none".
const maxUID = math.MaxUint32 - 1

// proxyUID validates --proxy-uid. Connections of that uid are not redirected. So it
// refuses the uids of apps and of other meshes, whose traffic to the shoot would go into
// the seed.
func (o *InitRedirect) proxyUID() (uint32, error) {
	problem := ""
	switch {
	case o.ProxyUID == 0:
		problem = "is root, which apps may run as and would then not be redirected"
	case o.ProxyUID == 65534:
		problem = "is nobody, which apps may run as and would then not be redirected"
	case o.ProxyUID == 1337:
		problem = "is Istio's, whose sidecar would then not be redirected"
	case o.ProxyUID == 2102:
		problem = "is Linkerd's, whose sidecar would then not be redirected"
	case o.ProxyUID < 0 || o.ProxyUID > maxUID:
		problem = fmt.Sprintf("is not a uid: uids go from 1 to %d", maxUID)
	default:
		return uint32(o.ProxyUID), nil
	}
	return 0, &flagset.UsageError{
		Flag: FlagProxyUID, Value: strconv.FormatInt(o.ProxyUID, 10),
		Problem: fmt.Sprintf("%s; run proxy-client under a uid of its own, such as %d", problem, defaults.ProxyUID),
	}
}

// excludePorts validates --exclude-port.
func (o *InitRedirect) excludePorts() ([]uint16, error) {
	values, err := elements("--exclude-port", o.ExcludePort, "22,9443")
	if err != nil {
		return nil, err
	}
	var ports []uint16
	for _, value := range values {
		first, last, ok := portRange(value)
		if !ok {
			return nil, &flagset.UsageError{Flag: "--exclude-port", Value: value, Problem: "is not a port: ports are whole numbers from 1 to 65535, and a range is written 30000-32767"}
		}
		if int64(first) <= o.ProxyPort && o.ProxyPort <= int64(last) {
			is := "is"
			if first != last {
				is = "contains"
			}
			return nil, &flagset.UsageError{
				Flag: "--exclude-port", Value: value,
				Problem: fmt.Sprintf("%s --proxy-port %d, where redirected connections arrive: exclude another port, or move the proxy", is, o.ProxyPort),
			}
		}
		for port := int(first); port <= int(last); port++ {
			ports = append(ports, uint16(port))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// portRange reads a port, or a range: two ports with a hyphen between them, the lower one
// first.
func portRange(value string) (first, last uint16, ok bool) {
	from, to, ranged := strings.Cut(value, "-")
	if !ranged {
		to = from
	}
	a, err1 := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	return uint16(a), uint16(b), err1 == nil && err2 == nil && a > 0 && a <= b
}

// excludeUIDs validates --exclude-uid. It accepts any uid, also root: unlike with
// --proxy-uid, the user wants those connections not to be redirected.
func (o *InitRedirect) excludeUIDs() ([]uint32, error) {
	values, err := elements(FlagExcludeUID, o.ExcludeUID, "0,1337")
	if err != nil {
		return nil, err
	}
	var uids []uint32
	for _, value := range values {
		uid, err := strconv.ParseUint(value, 10, 32)
		if err != nil || uid > maxUID {
			return nil, &flagset.UsageError{Flag: FlagExcludeUID, Value: value, Problem: fmt.Sprintf("is not a uid: uids are whole numbers from 0 to %d", maxUID)}
		}
		uids = append(uids, uint32(uid))
	}
	slices.Sort(uids)
	return slices.Compact(uids), nil
}
