// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
)

// The prefixes of environment variables.
const (
	// ProxyClientPrefix begins the variables of proxy-client: PROXY_CLIENT_LISTEN_ADDRESS.
	ProxyClientPrefix = "PROXY_CLIENT"
	// InitRedirectPrefix begins the variables of init-redirect: INIT_REDIRECT_PROXY_PORT.
	InitRedirectPrefix = "INIT_REDIRECT"
)

// Shared are the flags that proxy-client and init-redirect have in common. Both must have
// the same CIDR lists, since both derive the address of the redirect probe from them.
type Shared struct {
	// PodCIDRs, ServiceCIDRs and NodeCIDRs are the shoot's: --shoot-pod-cidr,
	// --shoot-service-cidr, --shoot-node-cidr. At least one is required.
	PodCIDRs, ServiceCIDRs, NodeCIDRs []string
	// ExcludeCIDRs are subtracted from them: --exclude-cidr.
	ExcludeCIDRs []string
	// LogFormat is text or json: --log-format.
	LogFormat string
	// LogLevel is debug, info, warn or error: --log-level.
	LogLevel string
}

func defaultShared() Shared {
	return Shared{LogFormat: formatText, LogLevel: "info"}
}

func (o *Shared) flags() []flagset.Flag {
	return []flagset.Flag{
		flagset.List("shoot-pod-cidr", &o.PodCIDRs, "the shoot's pod `CIDRs`, IPv4 and IPv6, such as 100.64.0.0/12,fd00:10::/48; comma-separated or repeated; one of the three --shoot-*-cidr flags is required"),
		flagset.List("shoot-service-cidr", &o.ServiceCIDRs, "the shoot's service `CIDRs`, such as 100.104.0.0/13; comma-separated or repeated"),
		flagset.List("shoot-node-cidr", &o.NodeCIDRs, "the shoot's node `CIDRs`, such as 10.250.0.0/16; comma-separated or repeated"),
		flagset.List("exclude-cidr", &o.ExcludeCIDRs, "`CIDRs` inside of the shoot's that are not tunnelled, such as 10.250.3.4/32; comma-separated or repeated"),
		flagset.Text("log-format", &o.LogFormat, "`format` of the log on standard error: text or json"),
		flagset.Text("log-level", &o.LogLevel, "least `level` that is logged: debug, info, warn or error"),
	}
}

// given reports whether any shoot CIDR was given.
func (o *Shared) given() bool {
	return len(o.PodCIDRs)+len(o.ServiceCIDRs)+len(o.NodeCIDRs) > 0
}

// set parses the lists and returns their set.
func (o *Shared) set() (*cidr.Set, error) {
	var shoot []cidr.Entry
	for _, list := range []struct {
		flag   string
		values []string
	}{
		{FlagShootPodCIDR, o.PodCIDRs},
		{"--shoot-service-cidr", o.ServiceCIDRs},
		{"--shoot-node-cidr", o.NodeCIDRs},
	} {
		entries, err := cidr.Parse(list.flag, list.values)
		if err != nil {
			return nil, fromCIDR(err)
		}
		shoot = append(shoot, entries...)
	}
	exclude, err := cidr.Parse("--exclude-cidr", o.ExcludeCIDRs)
	if err != nil {
		return nil, fromCIDR(err)
	}
	set, err := cidr.New(shoot, exclude)
	return set, fromCIDR(err)
}

// fromCIDR returns a refusal of package cidr, whose lists are called by their flags,
// as a [*flagset.UsageError].
func fromCIDR(err error) error {
	if errors.Is(err, cidr.ErrNoShoot) {
		return &flagset.UsageError{
			Flag:    FlagShootPodCIDR,
			Problem: "is not given, and neither is --shoot-service-cidr or --shoot-node-cidr: at least one has to say where the shoot is",
			Err:     err,
		}
	}
	if refused, ok := errors.AsType[*cidr.Error](err); ok {
		return &flagset.UsageError{Flag: refused.List, Value: refused.Value, Problem: refused.Err.Error(), Err: err}
	}
	return err
}

// The formats of a log.
const (
	formatText = "text"
	formatJSON = "json"
)

// Log says how to log.
type Log struct {
	// Format is text or json.
	Format string
	// Level is the least level that is logged.
	Level slog.Level
}

// Logger returns a logger that writes to w. A program passes standard error, since
// commands print to standard output. The logger cuts long values, since peers choose
// some of them.
func (l Log) Logger(w io.Writer) *slog.Logger {
	handler := &slog.HandlerOptions{Level: l.Level, ReplaceAttr: clip.Attr}
	if l.Format == formatJSON {
		return slog.New(slog.NewJSONHandler(w, handler))
	}
	return slog.New(slog.NewTextHandler(w, handler))
}

// ParseLog validates the values of --log-format and --log-level.
func ParseLog(format, level string) (Log, error) {
	if format != formatText && format != formatJSON {
		return Log{}, &flagset.UsageError{Flag: "--log-format", Value: format, Problem: "is not a log format: write text or json"}
	}
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	least, ok := levels[strings.ToLower(level)]
	if !ok {
		return Log{}, &flagset.UsageError{Flag: "--log-level", Value: level, Problem: "is not a log level: write debug, info, warn or error"}
	}
	return Log{Format: format, Level: least}, nil
}
