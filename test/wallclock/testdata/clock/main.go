// SPDX-License-Identifier: Apache-2.0

// Command clock answers each line with two times in seconds. One is its wall clock in
// Unix time. The other is how long it has run by its monotonic clock.
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
