// SPDX-License-Identifier: Apache-2.0

// Package image makes container images of programs, without a registry and without a
// container runtime. An image has one layer, which holds the named files and nothing
// else, and an OCI archive holds one image:
//
//	ctr --namespace k8s.io images import ARCHIVE
//
// puts it under its name into a node's containerd.
//
// [New] knows the images of the pods of the test clusters, and [Archives] writes them to
// a folder that keeps them. An archive is written again only if the image or one of its
// files has changed.
//
//	archives, err := image.Archives(ctx, testBin, image.CoreDNS, image.Agent)
//	...
//	pod.Spec.Containers[0].Image = image.Reference(image.CoreDNS)
//
// The package asks nothing on the network.
package image
