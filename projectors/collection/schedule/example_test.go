package schedule_test

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schedule"
)

func Example() {
	now := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
	for _, text := range []string{"30 4 * * mon-fri", "A9788980001B4000"} {
		s, err := schedule.Parse(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		next, _ := s.Next(now)
		fmt.Println(s, "- next", next.Format(time.DateTime))
	}
	_, err := schedule.Parse("0 0 31 2 *")
	fmt.Println(err)
	// Output:
	// at 04:30 on Monday to Friday, UTC - next 2026-11-30 04:30:00
	// every 2 weeks on Tuesday at 11:42 from 2008-08-26 on, UTC - next 2026-12-08 11:42:00
	// read schedule "0 0 31 2 *": it never comes
}
