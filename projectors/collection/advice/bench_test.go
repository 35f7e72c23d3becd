package advice_test

import (
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/collection/advice"
)

// BenchmarkAdvise looks at 1,000 collections, half of them with something to say
// about their query.
func BenchmarkAdvise(b *testing.B) {
	var all []advice.Collection
	for i := range 1000 {
		all = append(all, scheduled(fmt.Sprintf("C%03d", i), fmt.Sprintf("%d %d * * *", i%60, i%24), func(c *advice.Collection) {
			c.Incremental = i%2 == 0
			if i > 0 {
				c.Limit = fmt.Sprintf("C%03d", (i-1)/4)
			}
			if i%2 == 0 {
				asks(c, arp+fmt.Sprintf(`%s like "%%P%d%%" and Version < "10.%d" or Client = 1`, name, i, i))
			} else {
				asks(c, fmt.Sprintf(`select * from SMS_R_System where Name like "PC%d%%"`, i))
			}
		}))
	}
	in := site(all...)
	for b.Loop() {
		advice.Advise(in)
	}
}
