package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/estate"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/estate/referee"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

const aboutCollections = `Evaluate the collections of a made-up estate, and measure it.

The engine is that of the site, without a site around it. Databases that are named as
peers (--peer) get the same inventory and the same collections, translated to SQL; after
each evaluation the members of every collection are compared, one by one.

Each phase prints one line of JSON on standard output:

  load         inventory into the engine, or into tables with indexes and statistics
  define       all collections from text
  full-cold    the first evaluation of all
  full-warm    all once more; nothing changes
  apply        --changed devices change
  incremental  all collections, for those devices
  full-after   all collections for all devices after that; nothing more may change
  compare      members of a peer that are not those of the engine
  ratio        medians of a peer, divided by those of the engine
  sizes        heap of the engine, members as they are stored; of duckdb all its memory
  deltas       memberships that changed, and bytes that an event has for one

postgres is started as a private cluster below --dir, as user postgres if the caller is
root; the folder must be one that this user can reach. duckdb is the module
@duckdb/node-api for node, in the folder --duckdb. A peer that is not on this machine
is named and left out.

The exit code is 1 if any member differs.`

// collectionsOptions are what the command collections is called with.
type collectionsOptions struct {
	devices, collections int
	seeds                []uint
	changed, rounds      int
	peers                []string
	dir, duckdb          string
	complaints           io.Writer // about members that differ
}

func newCollections(out, log io.Writer) *cobra.Command {
	o := &collectionsOptions{devices: 2000, collections: 100, seeds: []uint{1}, changed: 100, rounds: 3, dir: os.TempDir(), duckdb: ".", complaints: log}
	c := &cobra.Command{
		Use:   "collections",
		Short: "Evaluate the collections of a made-up estate, and compare with databases",
		Long:  aboutCollections,
		Example: `  bugle-sim collections --devices 100000 --collections 1000 --changed 1000
  npm install --prefix duck @duckdb/node-api
  bugle-sim collections --devices 100000 --collections 1000 --seeds 1,2,3 --changed 1000 --peer postgres,duckdb --duckdb duck`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return o.run(c.Context(), out, log)
		},
	}
	o.addFlags(c.Flags())
	return c
}

func (o *collectionsOptions) addFlags(f *pflag.FlagSet) {
	f.IntVar(&o.devices, "devices", o.devices, "how many devices")
	f.IntVar(&o.collections, "collections", o.collections, "how many collections")
	f.UintSliceVar(&o.seeds, "seeds", o.seeds, "an estate for each of these numbers")
	f.IntVar(&o.changed, "changed", o.changed, "devices that change in each round")
	f.IntVar(&o.rounds, "rounds", o.rounds, "how often all is evaluated again, and how often devices change")
	f.StringSliceVar(&o.peers, "peer", o.peers, "databases to compare with: "+strings.Join(peers, ", "))
	f.StringVar(&o.dir, "dir", o.dir, "folder for the databases' files")
	f.StringVar(&o.duckdb, "duckdb", o.duckdb, "folder in which npm install @duckdb/node-api was run")
}

var peers = []string{referee.Postgres, referee.DuckDB}

func (o *collectionsOptions) check() error {
	for _, p := range o.peers {
		if !slices.Contains(peers, p) {
			return fmt.Errorf("--peer: %q is none of %s", p, strings.Join(peers, ", "))
		}
	}
	switch {
	case o.rounds < 1 || o.rounds > maxRounds:
		return fmt.Errorf("--rounds: %d is not from 1 to %d", o.rounds, maxRounds)
	case o.changed < 1 || o.changed > o.devices:
		return fmt.Errorf("--changed: %d is not from 1 to the number of devices", o.changed)
	case len(o.seeds) == 0:
		return errors.New("--seeds is empty")
	}
	return nil
}

const aboutEstate = `Make up an estate, as files.

--inventory gets one JSON object per device and line, as "bugle devices import" takes
them; --definitions gets YAML as "bugle collections apply" takes it. The same seed makes
the same files. --changes gets the lines of --changed devices after a change of theirs.`

// estateOptions are what the command estate is called with.
type estateOptions struct {
	estate.Options
	changed, round                  int
	inventory, definitions, changes string
}

func newEstate() *cobra.Command {
	o := &estateOptions{changed: 1000, round: 1}
	c := &cobra.Command{
		Use:     "estate",
		Short:   "Make up the inventory of a fleet, and collections over it",
		Long:    aboutEstate,
		Example: "  bugle-sim estate --devices 100000 --collections 1000 --seed 1 --inventory estate.jsonl --definitions estate.yaml",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return o.run() },
	}
	f := c.Flags()
	f.IntVar(&o.Devices, "devices", 1000, "how many devices")
	f.IntVar(&o.Collections, "collections", 100, "how many collections")
	f.Uint64Var(&o.Seed, "seed", 1, "number that all is made from")
	f.StringVar(&o.Site, "site", "P01", "site code of the collections' ids")
	f.StringVar(&o.inventory, "inventory", "", "file for the devices")
	f.StringVar(&o.definitions, "definitions", "", "file for the collections")
	f.StringVar(&o.changes, "changes", "", "file for the devices that changed")
	f.IntVar(&o.changed, "changed", o.changed, "how many devices changed")
	f.IntVar(&o.round, "round", o.round, "number that the changes are made from, beside the seed")
	return c
}

func (o *estateOptions) run() error {
	if o.inventory == "" && o.definitions == "" && o.changes == "" {
		return fmt.Errorf("%w: give --inventory, --definitions or --changes", errUsage)
	}
	e, err := estate.New(o.Options, schema.Standard())
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return errors.Join(
		toFile(o.inventory, e.WriteInventory),
		toFile(o.definitions, e.WriteDefinitions),
		toFile(o.changes, func(w io.Writer) error { return e.WriteChanges(w, o.round, o.changed) }),
	)
}

// toFile writes a file, if it has a name.
func toFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(write(w), w.Flush(), f.Close())
}
