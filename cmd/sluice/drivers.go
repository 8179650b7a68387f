package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

// driversCommand shows and changes which drivers are in a group, and which of them leads.
func driversCommand(env *environment) *cobra.Command {
	c := &cobra.Command{
		Use: "drivers", Short: "List and change the drivers of a group (sluice driver --peers)",
		Args: knownCommand, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	change := func(use, short, long, done string, args cobra.PositionalArgs, fill func(*sluice.DriversChange, []string)) *cobra.Command {
		var f clientFlags
		action, _, _ := strings.Cut(use, " ")
		one := &cobra.Command{Use: use, Short: short, Long: long, Args: args, RunE: func(c *cobra.Command, args []string) error {
			ask := sluice.DriversChange{Action: action}
			if fill != nil {
				fill(&ask, args)
			}
			body, err := json.Marshal(ask)
			if err != nil {
				return err
			}
			var now sluice.DriversState
			if err := f.send(c.Context(), http.MethodPost, "/api/drivers", string(body), &now); err != nil {
				return err
			}
			fmt.Fprintln(env.out, strings.TrimSpace(done+" "+strings.Join(args, " ")))
			return nil
		}}
		f.server(one)
		return one
	}
	c.AddCommand(driversList(env),
		change("add HOST:PORT", "Take a driver into the group",
			"Take the driver that answers at an address into the group. It was started with --peers, an empty --data and an ID that\n"+
				"the group does not know. From then on it counts for the majority.",
			"added the driver at", oneArg("where the driver is reached by the others"), func(c *sluice.DriversChange, args []string) { c.Address = args[0] }),
		change("replace HOST:PORT", "Take a driver in again that has lost its disk",
			"Take out the driver whose ID the one at the address has, and take that in its place: it has an empty --data. One that\n"+
				"comes back without its disk is not spoken to until then, for it has forgotten what it promised.",
			"replaced by the driver at", oneArg("where the driver is reached by the others"), func(c *sluice.DriversChange, args []string) { c.Address = args[0] }),
		change("remove ID", "Take a driver out of the group", "Take a driver out of the group, the leader too. It counts no more for the majority; end its process then.",
			"removed driver", oneArg("the ID of the driver"), func(c *sluice.DriversChange, args []string) { c.ID = args[0] }),
		change("handover", "Let another driver lead", "Let another driver lead, as before the machine of the leader is worked on. An interrupt of the leader does so too.",
			"another driver leads", noArgs, nil),
		change("forget QUERY", "Forget the batch log of a query that no pipeline has any more",
			"Forget the batch log of a query whose pipeline was removed. Its checkpoint cannot be gone on from then; savepoints in it\n"+
				"can, and stay with their state; what else is in the folder goes.",
			"forgot query", oneArg("the name of the query"), func(c *sluice.DriversChange, args []string) { c.Query = args[0] }))
	return c
}

func driversList(env *environment) *cobra.Command {
	var f clientFlags
	var format string
	c := &cobra.Command{
		Use: "list", Short: "List the drivers, as the one that is asked knows them", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var s sluice.DriversState
			if format != "table" && format != "json" {
				return usageError{errors.New("--format " + format + ": want table or json")}
			}
			if err := f.ask(c.Context(), http.MethodGet, "/api/drivers", &s); err != nil {
				return err
			}
			if format == "json" {
				return printJSON(env.out, s)
			}
			return printDrivers(env.out, s)
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table or json")
	f.server(c)
	return c
}

func printDrivers(out io.Writer, s sluice.DriversState) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tLEADS\tADDRESS\tCLIENTS\tVERSION")
	for _, d := range s.Drivers {
		leads := "-"
		if d.Leads {
			leads = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.ID, leads, d.Address, orDash(d.Client), orDash(d.Engine))
	}
	for _, note := range []string{s.Waiting, s.Failed} {
		if note != "" {
			fmt.Fprintf(w, "driver %s: %s\n", s.Self, note)
		}
	}
	return w.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
