// SPDX-License-Identifier: Apache-2.0

// Package wallclock builds a program whose wall clock can be stepped while it runs, and
// steps it. NTP or an administrator steps a machine's clock in the same way. The
// machine's own clock is never touched.
//
//	err := wallclock.Build(ctx, root, "./cmd/proxy-client", "/tmp/proxy-client")
//	clock, err := wallclock.New("/tmp/clock")
//	command.Env = append(command.Env, clock.Env()) // of the program that was built
//	err = clock.Set(time.Hour)                     // fast, from now on
//
// The program is built with `go build -overlay`, with only two changes. [time.Now] adds
// an offset to its seconds. Package main finds this offset in a file that is mapped into
// its memory. Monotonic time, and with it timers and deadlines, goes on as before. So
// does the kernel's clock: the times of files and CLOCK_REALTIME itself do not step.
package wallclock
