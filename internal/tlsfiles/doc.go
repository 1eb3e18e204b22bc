// SPDX-License-Identifier: Apache-2.0

// Package tlsfiles reads the TLS files of a configuration, which change while the
// program runs.
//
// It owns what is in the files: CheckCA and CheckPair judge their content at start,
// and Files reads them, reads them again when they have changed, keeps what is
// better of old and new, and warns before a certificate expires.
//
//	files := tlsfiles.New(cfg.TLS, names, log, metric.certificateExpires)
//	go files.Watch(ctx)
//	tls, err := files.Config() // for the next handshake
//
// It makes no connection and knows no server.
package tlsfiles
