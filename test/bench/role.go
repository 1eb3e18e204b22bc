// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"strconv"
)

// Roles of this program, given as its first argument. Without one it runs everything.
const (
	roleDrive  = "drive"
	roleServe  = "serve"
	roleSOCKS5 = "socks5"
)

// Play takes the role that args ask for, until it ends. It reports whether args ask for
// one. A program that calls [Run] starts itself with such arguments.
func Play(args []string, in io.Reader, out io.Writer) (ran bool, err error) {
	if len(args) == 0 {
		return false, nil
	}
	role, args := args[0], args[1:]
	switch {
	case role == roleDrive && len(args) == 0:
		return true, drive(in, out)
	case role == roleServe && len(args) == 2:
		return true, playTarget(args, out)
	case role == roleSOCKS5 && len(args) == 5:
		return true, serveSOCKS5(args[0], args[1], Files{CA: args[2], Cert: args[3], Key: args[4]})
	case role == roleDrive, role == roleServe, role == roleSOCKS5:
		return true, fmt.Errorf("%s: wrong arguments %q", role, args)
	}
	return false, nil
}

func playTarget(args []string, out io.Writer) error {
	ports, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return serve(out, ports, size)
}
