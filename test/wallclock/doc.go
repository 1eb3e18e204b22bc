// SPDX-License-Identifier: Apache-2.0

// Package wallclock builds a program whose wall clock can be stepped while it
// runs, as NTP or an administrator steps a machine's, and steps it. The machine's
// own clock is never touched.
//
//	err := wallclock.Build(ctx, root, "./cmd/proxy-client", "/tmp/proxy-client")
//	clock, err := wallclock.New("/tmp/clock")
//	command.Env = append(command.Env, clock.Env()) // of the program that was built
//	err = clock.Set(time.Hour)                     // fast, from now on
//
// The program is built with `go build -overlay`: the only changes are that
// [time.Now] adds an offset to its seconds, and that package main finds this offset
// in a file that is mapped into its memory. Monotonic time, and with it timers and
// deadlines, go on as before, and so does the kernel's clock: the times of files and
// CLOCK_REALTIME itself do not step.
package wallclock
