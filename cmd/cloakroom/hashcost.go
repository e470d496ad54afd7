package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakroom-dev/cloakroom/password"
)

// hashCost is the answer.
type hashCost struct {
	Memory    uint32  `json:"memory_kib"`
	Time      uint32  `json:"passes"`
	Threads   uint8   `json:"lanes"`
	Millis    float64 `json:"milliseconds"`
	Cores     int     `json:"cores"`
	Parallel  int     `json:"parallel"`
	PerSecond float64 `json:"per_second"`
	Bound     uint64  `json:"memory_bound_kib"`
}

func newHashCost() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hash-cost",
		Short: "Measure what hashing a password costs on this machine",
		Long: "Measure what hashing a password costs on this machine: the time of one hash, how many the\n" +
			"service computes at a time and in a second, and the memory that they need together.\n" +
			"It takes less than a second of a core, and changes nothing. The parameters are those of\n" +
			"every new hash, and there is no setting for them. A Go program sets its own: see the\n" +
			"Options of package password.",
		Args: exactly(0, "none"),
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := measure(password.DefaultParams)
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), c)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), `new hashes     argon2id, %.0f MiB, %d passes, lanes: %d
one hash       %.1f ms of a core
at a time      %d, on %d cores
in a second    %.0f, and as many sign-ins
memory         %d MiB, for all at a time
`, float64(c.Memory)/1024, c.Time, c.Threads, c.Millis, c.Parallel, c.Cores, c.PerSecond, c.Bound>>10)
		return err
	}
	return cmd
}

// measure takes the median of five: a busy machine slows some of them.
func measure(p password.Params) hashCost {
	took := max(password.Measure(p, 5), time.Microsecond)
	parallel := p.Parallel()
	return hashCost{
		Memory: p.Memory, Time: p.Time, Threads: p.Threads,
		Millis: float64(took.Microseconds()) / 1000, Cores: runtime.GOMAXPROCS(0), Parallel: parallel,
		// As if no core were kept busy by anything else.
		PerSecond: float64(parallel) / took.Seconds(),
		Bound:     uint64(parallel) * uint64(p.Memory),
	}
}
