package wql_test

import (
	"fmt"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

func Example() {
	q, err := wql.Parse(`SELECT * FROM SMS_R_System AS s
		INNER JOIN SMS_G_System_LOGICAL_DISK AS d ON d.ResourceID = s.ResourceId
		WHERE d.DeviceID = ‘C:’ AND 1024 > d.FreeSpace
		  AND s.ResourceId NOT IN (SELECT ResourceID FROM SMS_CM_RES_COLL_xyz0003f)`, schema.Standard())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(q)
	fmt.Println("collections:", q.Uses, "clock:", q.Clock)

	_, err = wql.Parse("select * from SMS_R_System\nwhere OperatingSystem like \"%Server%\" and Nmae = \"PC1\"", schema.Standard())
	fmt.Println(err)

	p := wql.CompileLike("PC-[a-f]_%")
	fmt.Println(p.Match(wql.Fold("pc-B7.example")), p.Match(wql.Fold("PC-X7")))
	// Output:
	// select * from SMS_R_System as s inner join SMS_G_System_LOGICAL_DISK as d on d.ResourceID = s.ResourceID where d.DeviceID = "C:" and d.FreeSpace < 1024 and s.ResourceID not in (select SMS_CM_RES_COLL_XYZ0003F.ResourceID from SMS_CM_RES_COLL_XYZ0003F)
	// collections: [XYZ0003F] clock: false
	// line 2, column 43: no class behind from has a property Nmae: did you mean SMS_R_System.Name?
	// true false
}
