// Command gendoc writes the reference page of SQL functions from the registry:
//
//	go run ./sql/functions/gendoc docs/sql/functions.md
package main

import (
	"fmt"
	"os"

	"github.com/sluice-stream/sluice/sql/functions"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendoc FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], functions.Page(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "gendoc:", err)
		os.Exit(1)
	}
}
