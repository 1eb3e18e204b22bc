// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/pflag"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// addImageFlags adds the flags of the images for pods. Images without a flag come from
// the configuration, or are those of a version.
func addImageFlags(flags *pflag.FlagSet, images *webhook.Images) {
	const usage = "; beats the configuration's (default there: shoot-proxy/"
	flags.Var((*imageValue)(&images.ProxyClient), "proxy-client-image", "`image` of proxy-client"+usage+"proxy-client, in the webhook's own version)")
	flags.Var((*imageValue)(&images.InitRedirect), "init-redirect-image", "`image` of init-redirect"+usage+"init-redirect, in the webhook's own version)")
}

// imageValue is the name of an image. It refuses names that no container runtime would
// pull.
type imageValue string

func (v *imageValue) Set(s string) error {
	*v = imageValue(s)
	return webhook.CheckImage(s)
}
func (v *imageValue) String() string { return string(*v) }
func (v *imageValue) Type() string   { return "image" }
