package kubetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gantry-ci/gantry/internal/testbed/kubenode"
)

// APIRequest is one that the API server has answered, or whose answer has begun (a watch, an exec).
type APIRequest struct {
	ID          string
	User        string // system:serviceaccount:NAMESPACE:NAME, admin, …
	Agent       string
	Verb        string // get, list, watch, create, patch, delete, …
	Resource    string // pods, …
	Subresource string // exec, log, ephemeralcontainers, …
	Namespace   string
	Name        string
	Code        int
	At          time.Time // when it came in
}

func (r APIRequest) String() string {
	what := r.Resource
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	return fmt.Sprintf("%s %s %s %d", r.Verb, what, r.Name, r.Code)
}

// Audit is the API server's log from a moment on. The cluster's own parts are not in it.
type Audit struct {
	cluster *Cluster
	from    int64
}

// Audit begins to look at the requests that the API server gets.
func (c *Cluster) Audit(t testing.TB) *Audit {
	t.Helper()
	c.Own(t)
	c.flush(t)
	info, err := os.Stat((&kubenode.Node{Dir: c.Dir}).Audit())
	if err != nil {
		t.Fatalf("looking at the API server's log: %v", err)
	}
	return &Audit{cluster: c, from: info.Size()}
}

// Requests are those of a user (see Runner.User) since Audit was called: all of them, also those that were just answered.
func (a *Audit) Requests(t testing.TB, user string) []APIRequest {
	t.Helper()
	a.cluster.flush(t)
	all, err := readAudit((&kubenode.Node{Dir: a.cluster.Dir}).Audit(), a.from)
	if err != nil {
		t.Fatalf("reading the API server's log: %v", err)
	}
	return slices.DeleteFunc(all, func(r APIRequest) bool { return r.User != user })
}

// flush returns once everything that was answered before is in the log: it asks for something and finds that there.
func (c *Cluster) flush(t testing.TB) {
	t.Helper()
	mark := fmt.Sprintf("mark-%d", time.Now().UnixNano())
	err := c.Request("GET", "default", &corev1.Pod{}).Name(mark).Do(t.Context()).Error()
	if err == nil || !strings.Contains(err.Error(), mark) {
		t.Fatalf("asking the API server for a pod that is not there: %v", err)
	}
	log := (&kubenode.Node{Dir: c.Dir}).Audit()
	eventually(t, "the API server's log", func(context.Context) error {
		end, err := tailOf(log, 1<<20)
		if err == nil && !bytes.Contains(end, []byte(mark)) {
			err = errors.New("the last request is not in it")
		}
		return err
	})
}

func tailOf(file string, size int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(0, end-size), size))
}

// readAudit reads the log's lines from an offset on. A request that lasts has two lines.
func readAudit(file string, from int64) ([]APIRequest, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
	}
	var requests []APIRequest
	seen := map[string]bool{}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests, nil // half a line is still being written
		}
		if err != nil {
			return nil, err
		}
		request, err := parseAudit(line)
		if err != nil {
			return nil, err
		}
		if !seen[request.ID] {
			seen[request.ID] = true
			requests = append(requests, request)
		}
	}
}

func parseAudit(line []byte) (APIRequest, error) {
	var event struct {
		AuditID   string `json:"auditID"`
		Verb      string `json:"verb"`
		UserAgent string `json:"userAgent"`
		User      struct {
			Username string `json:"username"`
		} `json:"user"`
		ObjectRef struct {
			Resource, Subresource, Namespace, Name string
		} `json:"objectRef"`
		ResponseStatus struct {
			Code int `json:"code"`
		} `json:"responseStatus"`
		Received time.Time `json:"requestReceivedTimestamp"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return APIRequest{}, fmt.Errorf("%.200s: %w", line, err)
	}
	return APIRequest{
		ID: event.AuditID, User: event.User.Username, Agent: event.UserAgent, Verb: event.Verb,
		Resource: event.ObjectRef.Resource, Subresource: event.ObjectRef.Subresource,
		Namespace: event.ObjectRef.Namespace, Name: event.ObjectRef.Name,
		Code: event.ResponseStatus.Code, At: event.Received,
	}, nil
}
