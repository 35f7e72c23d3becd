package task_test

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The site signs one task for many devices; each of them checks that the site
// signed it and that it is one of them.
func Example() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // the site's
	targets, err := task.NewTargets(slices.Values([]uint32{3, 7, 40_000}))
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(1_700_000_000, 0)
	t := task.Task{
		Site: "P01", Operation: task.NewID(now), Kind: "scan.quick", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: now, DeliverBy: now.Add(time.Hour), RunTimeout: time.Minute, Requested: now,
	}
	signed, err := t.Sign(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	proof, _ := targets.Prove(40_000)

	// On device 40,000:
	got, err := signed.Verify("P01", key.Public().(ed25519.PublicKey))
	fmt.Println(got.Kind, err)
	fmt.Println(proof.Verify(&got, 40_000))
	// On device 40,001, which got hold of both:
	fmt.Println(proof.Verify(&got, 40_001))
	// Output:
	// scan.quick <nil>
	// <nil>
	// refused: not for device 40001
}
