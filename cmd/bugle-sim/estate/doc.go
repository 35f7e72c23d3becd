// Package estate makes up an estate: the inventory of a fleet, and collections over
// it, to measure and to test with. The same seed makes the same estate, to the byte, on
// every machine.
//
// # Devices
//
// A device has some 50 properties in 18 classes, a few of them NULL, and 50 products of
// 5,000. Products, models, builds, subnets and organisational units have a few frequent
// and many rare values; dates of inventory lie some days back for most and months for
// some. A device depends on nothing but the seed and its number, so records can be made
// one at a time and in any order: [Estate.Record]. [Estate.Change] is what became of one
// in a round of changes, as another run of its inventory would report it.
//
// # Collections
//
// Of C collections 60 % have query rules, 20 % include others, 10 % exclude others, 10 %
// name devices. Queries are of the 27 kinds that people write ([Kinds]), with constants
// from the same distributions as the devices. Every twentieth holds most of the fleet;
// half of the others are limited by one of these, the rest by the root or by any one made
// before, so that limits nest. Along limits, includes, excludes and references no chain
// is longer than [MaxDepth].
//
// # Files
//
// [Estate.WriteInventory] writes one JSON object per device and line, as "bugle devices
// import" takes them. [Estate.WriteDefinitions] writes YAML as "bugle collections apply"
// takes it.
package estate
