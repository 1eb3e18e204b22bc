// SPDX-License-Identifier: Apache-2.0

// Command clock answers each line with its wall clock, in seconds of Unix time, and
// the seconds that it has run by its monotonic one.
package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	began := time.Now()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		now := time.Now()
		fmt.Println(now.Unix(), int64(now.Sub(began)/time.Second))
	}
}
