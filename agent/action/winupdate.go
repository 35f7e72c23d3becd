package action

import "strings"

// windowsUpdates is Windows Update through its own interface, asked by PowerShell.
// Names are KB numbers.
var windowsUpdates = manager{
	name:    "Windows Update",
	pending: powershell(searchScript + listScript).args,
	parse:   windowsPending,
	install: func(names []string) []string { return powershell(installScript(names)).args },
}

const (
	searchScript = `$s=New-Object -ComObject Microsoft.Update.Session;` +
		`$found=$s.CreateUpdateSearcher().Search("IsInstalled=0 and IsHidden=0 and Type='Software'").Updates;`
	listScript = `foreach($u in $found){foreach($k in $u.KBArticleIDs){"UPDATE KB$k` + "`t" + `$($u.Title)"}};'LISTED'`

	windowsWantsRestart = "RESTART NEEDED"
)

// windowsPending reads a line for each update; the last one says that all are there.
func windowsPending(code int, output string) (list []update, err error) {
	whole := false
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		whole = whole || line == "LISTED"
		rest, ok := strings.CutPrefix(line, "UPDATE ")
		if !ok {
			continue
		}
		name, title, _ := strings.Cut(rest, "\t")
		list = append(list, update{name, title})
	}
	if code != 0 || !whole {
		return nil, errCode(code)
	}
	return list, nil
}

// installScript downloads and installs; it fails unless all succeeded (2) or did
// with errors that Windows takes for none (3).
func installScript(names []string) string {
	pick := `$want=$null;`
	if len(names) > 0 {
		pick = `$want=@(` + quoteAll(names) + `);`
	}
	return searchScript + pick +
		`$c=New-Object -ComObject Microsoft.Update.UpdateColl;` +
		`foreach($u in $found){if(-not $want -or ($u.KBArticleIDs|Where-Object{$want -contains "KB$_"})){if(-not $u.EulaAccepted){$u.AcceptEula()};[void]$c.Add($u)}};` +
		`if($c.Count -eq 0){exit 0};` +
		`$d=$s.CreateUpdateDownloader();$d.Updates=$c;[void]$d.Download();` +
		`$i=$s.CreateUpdateInstaller();$i.Updates=$c;$r=$i.Install();` +
		`if($r.RebootRequired){'` + windowsWantsRestart + `'};` +
		`if($r.ResultCode -ne 2 -and $r.ResultCode -ne 3){"result $($r.ResultCode)";exit 1}`
}
