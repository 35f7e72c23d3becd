package site

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// BenchmarkImport is an import as the administrator's command makes it, in calls of 1
// MiB one after the other: from the console's handler to events that are durable in
// the journal of a whole site, with all views following.
func BenchmarkImport(b *testing.B) {
	for _, c := range []struct {
		name    string
		devices int
		line    func(b *bytes.Buffer, n int)
	}{{"10 properties", 40_000, smallLine}, {"45 properties, 50 products", 6_000, fullLine}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				importInto(b, c.devices, c.line)
			}
			b.ReportMetric(float64(c.devices)*float64(b.N)/b.Elapsed().Seconds(), "devices/s")
		})
	}
}

func importInto(b *testing.B, devices int, line func(*bytes.Buffer, int)) {
	b.StopTimer()
	cfg := Default()
	cfg.Data, cfg.Log = b.TempDir(), slog.New(slog.DiscardHandler)
	cfg.ListenTCP, cfg.ListenHTTP, cfg.ListenFeed, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0"
	s, err := Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(cfg.Data, "keys", "admin.token"))
	if err != nil {
		b.Fatal(err)
	}
	var chunks [][]byte
	var chunk bytes.Buffer
	for n := range devices {
		if line(&chunk, n); chunk.Len() > 1<<20-16<<10 || n == devices-1 {
			chunks = append(chunks, bytes.Clone(chunk.Bytes()))
			chunk.Reset()
		}
	}
	b.StartTimer()
	taken := 0
	for _, c := range chunks {
		q := httptest.NewRequest(http.MethodPost, console.PathDevicesImport, bytes.NewReader(c))
		q.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		q.Header.Set("Content-Type", "application/x-ndjson")
		w := httptest.NewRecorder()
		s.console.Handler().ServeHTTP(w, q)
		var reply console.ImportReply
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || w.Code != http.StatusOK || reply.Bad > 0 {
			b.Fatalf("%d %.500s", w.Code, w.Body)
		}
		taken += reply.New
	}
	b.StopTimer()
	if taken != devices {
		b.Fatalf("%d devices were taken", taken)
	}
	if err := s.views.Wait(b.Context(), s.journal.Head().Event); err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
}

func smallLine(b *bytes.Buffer, n int) {
	fmt.Fprintf(b, `{"name":"PC-%06d","Build":"10.0.22631","ResourceDomainORWorkgroup":"CONTOSO","SystemOUName":["CONTOSO.COM/PCS/%d"],"Client":1,"Active":1,"SMBIOSGUID":"%032x",`+
		`"SMS_G_System_COMPUTER_SYSTEM":{"Model":"T%d","Manufacturer":"LENOVO","NumberOfProcessors":2}}`+"\n", n, n%50, n, n%20)
}

// fullLine is a device with 45 properties and 50 products from 5,000.
func fullLine(b *bytes.Buffer, n int) {
	fmt.Fprintf(b, `{"name":"PC-%06d"`, n)
	for i, count := range []int{14, 13, 10, 8} {
		c, _ := schema.Standard().Class([]string{schema.System, "SMS_G_System_OPERATING_SYSTEM", "SMS_G_System_COMPUTER_SYSTEM", "SMS_G_System_PC_BIOS"}[i])
		fmt.Fprintf(b, `,%q:{`, c.Name)
		for j, p := range c.Properties[2 : 2+count] {
			if j > 0 {
				b.WriteByte(',')
			}
			switch {
			case p.List:
				fmt.Fprintf(b, `%q:["OU=%d"]`, p.Name, n%50)
			case p.Type == schema.Text:
				fmt.Fprintf(b, `%q:"%s of %d"`, p.Name, p.Name, n%200)
			case p.Type == schema.Date:
				fmt.Fprintf(b, `%q:"2026-01-02T03:04:05Z"`, p.Name)
			default:
				fmt.Fprintf(b, `%q:%d`, p.Name, n%2)
			}
		}
		b.WriteByte('}')
	}
	b.WriteString(`,"SMS_G_System_ADD_REMOVE_PROGRAMS":[`)
	for i := range 50 {
		if i > 0 {
			b.WriteByte(',')
		}
		product := (n*7 + i*101) % 5000
		fmt.Fprintf(b, `{"ProdID":"{%08d}","DisplayName":"Product %d","Version":"%d.%d","Publisher":"Contoso"}`, product, product, product%9, i%4)
	}
	b.WriteString("]}\n")
}
