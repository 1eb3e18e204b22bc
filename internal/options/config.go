// SPDX-License-Identifier: Apache-2.0

package options

import "errors"

// Config validates the flags.
func (o *ProxyClient) Config() (*ProxyClientConfig, error) { return nil, errors.New("not yet") }

// Config validates the flags.
func (o *InitRedirect) Config() (*InitRedirectConfig, error) { return nil, errors.New("not yet") }

// ConfigWithoutCIDRs is Config for dump and clean, which work on whatever rules
// there are: no shoot CIDR is required, and CIDRs is nil where none was given.
func (o *InitRedirect) ConfigWithoutCIDRs() (*InitRedirectConfig, error) { return nil, errors.New("not yet") }
