package createopts

import (
	"encoding/csv"
	"strings"
)

// MountFlag is the value of a --mount flag. What the engines would refuse is kept, not judged.
type MountFlag struct {
	Type     string // "volume" where none is given
	Source   string
	Target   string
	ReadOnly bool
	// Devices are the host paths that a volume driver is asked to mount (volume-opt=device=/path).
	Devices []string
	// TmpfsSize is the size of a tmpfs in the engine's notation, or "".
	TmpfsSize string
}

// ParseMountFlag reads "type=bind,source=/a,target=/b,readonly". The keys' spellings are those of both engines.
func ParseMountFlag(value string) MountFlag {
	pairs, _ := keyValues(value)
	m := MountFlag{
		Type:     strings.ToLower(pairs.last("type")),
		Source:   pairs.last("source", "src"),
		Target:   pairs.last("target", "dst", "destination"),
		ReadOnly: pairs.on("readonly", "ro"),

		TmpfsSize: pairs.last("tmpfs-size"),
	}
	if m.Type == "" {
		m.Type = "volume"
	}
	for _, option := range pairs.all("volume-opt") {
		if device, ok := strings.CutPrefix(option, "device="); ok {
			m.Devices = append(m.Devices, device)
		}
	}
	return m
}

type pair struct{ key, value string }

type pairs []pair

// keyValues reads "a=b,c,d=e", one line of CSV as both engines do. ok is false unless one piece has a "=".
// Text that is not proper CSV is split at its commas, so that nothing in it is overlooked.
func keyValues(text string) (list pairs, ok bool) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		fields = strings.Split(text, ",")
	}
	for _, field := range fields {
		key, value, has := strings.Cut(field, "=")
		list = append(list, pair{strings.ToLower(strings.TrimSpace(key)), value})
		ok = ok || has
	}
	return list, ok && !strings.Contains(list[0].key, ":")
}

// all returns the values of a key in order.
func (l pairs) all(keys ...string) []string {
	var values []string
	for _, p := range l {
		for _, key := range keys {
			if p.key == key {
				values = append(values, p.value)
			}
		}
	}
	return values
}

// last returns the value that counts of keys that mean the same.
func (l pairs) last(keys ...string) string {
	values := l.all(keys...)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// on reads a key that may stand without a value.
func (l pairs) on(keys ...string) bool {
	values := l.all(keys...)
	return len(values) > 0 && values[len(values)-1] != "false" && values[len(values)-1] != "0"
}
