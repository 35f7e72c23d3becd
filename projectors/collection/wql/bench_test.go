package wql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// BenchmarkParse reads 1,000 definitions of the kinds that people write.
func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		for i := range 1000 {
			if _, err := wql.Parse(kinds[i%len(kinds)].query, schema.Standard()); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkLike matches a pattern with the 100,000 texts of a dictionary.
func BenchmarkLike(b *testing.B) {
	texts := make([]string, 100_000)
	for i := range texts {
		texts[i] = fmt.Sprintf("product %d of maker %d, edition %x", i, i%977, i*7919)
	}
	for _, pattern := range []string{"product 77%", "%edition 1f", "%maker 12%", "%4_ of%", "%[^0-9]5 of maker 3_, edition [a-f]%"} {
		b.Run(strings.ReplaceAll(pattern, " ", "_"), func(b *testing.B) {
			p := wql.CompileLike(pattern)
			for b.Loop() {
				for _, t := range texts {
					p.Match(t)
				}
			}
		})
	}
}
