// SPDX-License-Identifier: Apache-2.0

// Package tlsfiles reads the TLS files of a configuration, which change while the
// program runs.
//
// It owns what is in the files:
//
//   - CheckCA and CheckPair judge the content at start.
//   - Files reads the files, and reads them again after a change. It keeps the better of
//     the old and the new content, and warns before a certificate expires.
//
// A program uses Files in this way:
//
//	files := tlsfiles.New(cfg.TLS, names, log, metric.certificateInUse)
//	go files.Watch(ctx)
//	tls, err := files.Config() // for the next handshake
//
// It makes no connection, and knows no server and no flag.
package tlsfiles
