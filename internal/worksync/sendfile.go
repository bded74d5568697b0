package worksync

import (
	"context"
	"crypto/sha256"
	"io"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// sendFile sends the data of a file from an offset on. The hash is that of all of it. An error is one of the link, or
// ctx's.
func sendFile(ctx context.Context, l *link, s *tree.Source, offset int64) (ending, error) {
	h := sha256.New()
	buf := make([]byte, min(dataSize, s.Size))
	quiet, at := 0, int64(0)
	for at < s.Size && ctx.Err() == nil {
		want := min(int64(len(buf)), s.Size-at)
		if at < offset {
			want = min(want, offset-at)
		}
		n, err := s.ReadAt(buf[:want], at)
		h.Write(buf[:n])
		if at += int64(n); at > offset && n > 0 {
			if err := l.send(msgData, buf[:n]); err != nil {
				return ending{}, err
			}
		} else if quiet += n; quiet > aliveBytes {
			quiet = 0
			if err := l.alive(); err != nil {
				return ending{}, err
			}
		}
		if err != nil && (err != io.EOF || at < s.Size) {
			break // it has become shorter, or unreadable
		}
	}
	if err := ctx.Err(); err != nil {
		return ending{}, err
	}
	e := ending{torn: at < s.Size || !s.Unchanged()}
	h.Sum(e.hash[:0])
	return e, nil
}

func (l *link) alive() error {
	if err := l.send(msgAlive); err != nil {
		return err
	}
	return l.flush()
}
