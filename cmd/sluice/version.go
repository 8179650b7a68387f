package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// buildVersion is what a node says of its program: the engine's version if the linker was
// told nothing.
func buildVersion() string {
	if version == "devel" {
		return ""
	}
	return version
}

func versionCommand(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, commit and build",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(env.out, "sluice %s\ncommit %s\ndate   %s\ngo     %s %s/%s\n",
				version, commit, date, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
