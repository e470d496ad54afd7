package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/password"
)

// measuredParams are what new hashes have, and stronger ones.
func measuredParams() []password.Params {
	return []password.Params{
		password.DefaultParams,
		{Memory: 47104, Time: 1, Threads: 1},
		{Memory: 12288, Time: 3, Threads: 1},
		{Memory: 19456, Time: 4, Threads: 1},
		{Memory: 47104, Time: 2, Threads: 1},
		{Memory: 65536, Time: 3, Threads: 1},
	}
}

// hashCost is one line of the answer.
type hashCost struct {
	Memory    uint32  `json:"memory_kib"`
	Time      uint32  `json:"passes"`
	Threads   uint8   `json:"lanes"`
	Millis    float64 `json:"milliseconds"`
	Parallel  int     `json:"parallel"`
	PerSecond float64 `json:"per_second"`
	Bound     uint64  `json:"memory_bound_kib"`
	Floor     bool    `json:"meets_floor"`
	InUse     bool    `json:"in_use"`
}

func newHashCost() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hash-cost",
		Short: "Measure what hashing a password costs on this machine",
		Long: "Measure what hashing a password costs on this machine, with the parameters of new\n" +
			"hashes and with others: the time of one, how many a second can be computed with as\n" +
			"many at a time as the service would, and the memory that they need together.\n" +
			"It takes some seconds of a core. It changes nothing.",
		Args: exactly(0, "none"),
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var costs []hashCost
		for _, p := range measuredParams() {
			costs = append(costs, measure(p))
		}
		if *asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(costs)
		}
		return printCosts(cmd, costs)
	}
	return cmd
}

// measure takes the median of five: a busy machine slows some of them.
func measure(p password.Params) hashCost {
	took := max(password.Measure(p, 5), time.Microsecond)
	parallel := p.Parallel()
	return hashCost{
		Memory: p.Memory, Time: p.Time, Threads: p.Threads,
		Millis: float64(took.Microseconds()) / 1000, Parallel: parallel,
		// As if no core were kept busy by anything else.
		PerSecond: float64(parallel) / took.Seconds(),
		Bound:     uint64(parallel) * uint64(p.Memory),
		Floor:     p.Check() == nil, InUse: p == password.DefaultParams,
	}
}

func printCosts(cmd *cobra.Command, costs []hashCost) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "MEMORY\tPASSES\tLANES\tONE HASH\tAT A TIME\tA SECOND\tTOGETHER\tOWASP'S LEAST\tIN USE\t")
	for _, c := range costs {
		floor, use := "below", ""
		if c.Floor {
			floor = "met"
		}
		if c.InUse {
			use = "yes"
		}
		fmt.Fprintf(w, "%.1f MiB\t%d\t%d\t%.1f ms\t%d\t%.0f\t%d MiB\t%s\t%s\t\n", float64(c.Memory)/1024, c.Time, c.Threads,
			c.Millis, c.Parallel, c.PerSecond, c.Bound>>10, floor, use)
	}
	return w.Flush()
}
