// Package trace writes one log for each hook call: what the engine was asked for and how long it took.
package trace

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gantry-ci/gantry/internal/redact"
)

// Open makes the log of a call in dir, private to the user: mode 0600, in a folder that is made with 0700 if it is
// not there. Every text that is logged passes through clean.
func Open(dir, command string, at time.Time, clean *redact.Redactor) (*slog.Logger, io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("making the folder of traces: %w", err)
	}
	pattern := at.UTC().Format("20060102T150405.000Z") + "-" + command + "-*.log"
	file, err := os.CreateTemp(dir, filepath.Base(pattern)) // 0600
	if err != nil {
		return nil, nil, fmt.Errorf("making a trace: %w", err)
	}
	return slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch value := a.Value.Any().(type) {
			case string:
				a.Value = slog.StringValue(clean.Value(a.Key, value))
			case error:
				a.Value = slog.StringValue(clean.Text(value.Error()))
			}
			return a
		},
	})), file, nil
}
