// SPDX-License-Identifier: Apache-2.0

// Package chromium drives a headless Chromium through the DevTools protocol. The commands
// go through a pipe, so that the browser listens on no port.
//
//	browser, err := chromium.Start(ctx, l.Pod, filepath.Join(l.Dir, "chromium"))
//	page, err := browser.Open(ctx, chromium.View{Width: 360, Height: 740, Dark: true})
//	err = page.Go(ctx, "http://127.0.0.1:14000/")
//	err = page.Value(ctx, &rows, `document.querySelectorAll("[role=row]").length`)
//
// Chromium is a process of a lab, in one of its namespaces. It ends with the lab, and its
// profile is in the lab's folder. It also ends when its pipe does, so it does not outlive
// a test that is killed.
//
// A Page remembers what went wrong in it: messages of the console, exceptions, violations
// of the Content-Security-Policy, and each address that it asked for.
package chromium
