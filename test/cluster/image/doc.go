// SPDX-License-Identifier: Apache-2.0

// Package image makes container images of programs, without a registry and without a
// container runtime. An image has one layer with only the named files. An OCI archive
// holds one image. This command puts it under its name into a node's containerd:
//
//	ctr --namespace k8s.io images import ARCHIVE
//
// [New] describes the images of the pods of the test clusters. [Archives] writes them to
// a folder that keeps them. An archive is written again only if the image or one of its
// files has changed.
//
//	archives, err := image.Archives(ctx, testBin, image.CoreDNS, image.Agent)
//	...
//	pod.Spec.Containers[0].Image = image.Reference(image.CoreDNS)
//
// The package does not use the network.
package image
