package createopts_test

import (
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/createopts"
)

func TestParsePort(t *testing.T) {
	for text, want := range map[string]string{
		"6379":                    "6379/tcp",
		"6379/tcp":                "6379/tcp",
		"6379/UDP":                "6379/udp",
		"8080:80":                 "8080:80/tcp",
		"8080:80/udp":             "8080:80/udp",
		"8080:80/sctp":            "8080:80/sctp",
		":80":                     "80/tcp",
		"0:80":                    "80/tcp",
		"127.0.0.1:8080:80":       "127.0.0.1:8080:80/tcp",
		"127.0.0.1::80":           "127.0.0.1::80/tcp",
		"[::1]:8080:80":           "[::1]:8080:80/tcp",
		"[::1]::80/udp":           "[::1]::80/udp",
		"8000-8010:8000-8010":     "8000-8010:8000-8010/tcp",
		"8000-8010":               "8000-8010/tcp",
		"8000-8010:80":            "8000-8010:80/tcp",
		"80-80":                   "80/tcp",
		"0.0.0.0:1-2:3-4/udp":     "0.0.0.0:1-2:3-4/udp",
		"65535:1":                 "65535:1/tcp",
		"[fe80::1]:65535:1/tcp":   "[fe80::1]:65535:1/tcp",
		"127.0.0.1:8000-8001:1-2": "127.0.0.1:8000-8001:1-2/tcp",
	} {
		p, err := createopts.ParsePort(text)
		if err != nil || p.String() != want {
			t.Errorf("%q: %s, %v; want %s", text, p, err, want)
		}
	}
}

func TestParsePortRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		"":                        "empty",
		"abc":                     "number",
		"80/http":                 "protocol",
		"80/":                     "protocol",
		"80/tcp/udp":              "protocol",
		"8080:":                   "missing",
		"0":                       "0",
		"65536":                   "number",
		"-1":                      "number",
		"+1":                      "number",
		" 80":                     "number",
		"80 ":                     "number",
		"80:http":                 "number",
		"8_0":                     "number",
		"0x50":                    "number",
		"10-5":                    "backwards",
		"5-":                      "number",
		"0-5:0-5":                 "0",
		"1-2:1-3":                 "2 host ports",
		"0:1-3":                   "host port",
		"localhost:8080:80":       "address",
		"::1:8080:80":             "brackets",
		"[::1:8080:80":            "bracket",
		"[127.0.0.1]:8080:80":     "address",
		"1.2.3:80:80":             "address",
		"1.2.3.4:80:80:80":        "brackets",
		"8080:80,8081:81":         "several",
		"${{ matrix.port }}:6379": "number",
	} {
		_, err := createopts.ParsePort(text)
		if err == nil {
			t.Errorf("%q was accepted", text)
			continue
		}
		if !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), `"`+text+`"`) {
			t.Errorf("%q: the error names neither the text nor %q: %v", text, reason, err)
		}
	}
}

// FuzzParsePort: parsing never panics, and what was accepted survives being written and read again.
func FuzzParsePort(f *testing.F) {
	for _, seed := range []string{"6379", "127.0.0.1:8080:80/udp", "[::1]:1-2:3-4", ":80", "[fe80::1%a]:1:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := createopts.ParsePort(text)
		if err != nil {
			return
		}
		again, err := createopts.ParsePort(p.String())
		if err != nil || again != p {
			t.Errorf("%q is %+v, written %q, and reads back as %+v, %v", text, p, p, again, err)
		}
	})
}
