// Hello is the only program of the image gantry.test/scratch:1. It prints its arguments, one a line, and exits with
// the status that the variable EXIT gives.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	for _, arg := range os.Args[1:] {
		fmt.Println(arg)
	}
	status, _ := strconv.Atoi(os.Getenv("EXIT")) // unset: 0
	os.Exit(status)
}
