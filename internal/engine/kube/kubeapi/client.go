package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/gantry-ci/gantry/internal/wait"
)

// Limits of one call, whatever the caller's context allows.
const (
	tryLimit   = 30 * time.Second // one try
	callLimit  = 90 * time.Second // all tries: an API server that is restarted is back by then
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	maxAnswer  = 64 << 20
	// forgetful is how long an API server that has just been started may not know of rules that it has allowed a request by
	// before.
	forgetful = 15 * time.Second
)

// Client asks one API server about one namespace. Its methods may be called concurrently. After an error a call that
// changes something may have been carried out all the same; each method says what calling it again does.
type Client struct {
	place *Place
	base  *url.URL
	http  *http.Client
	log   *slog.Logger
	// pause waits before another try, and tells whether ctx is still on.
	pause func(ctx context.Context, d time.Duration) bool
	// allowed are the rights that were used, as "get pods".
	allowed sync.Map
}

// New makes a client; it asks nobody. log, which may be nil, gets every call at debug level, without what is in it.
func New(place *Place, log *slog.Logger) (*Client, error) {
	transport, err := rest.HTTPClientFor(place.Config)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to the API server: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(place.Config)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{place: place, base: base, http: transport, log: log, pause: wait.For}, nil
}

// Place is what the client was made with.
func (c *Client) Place() *Place { return c.place }

// call is one request, in the words of a Role.
type call struct {
	verb     string // get, list, watch, create, update, patch, delete
	group    string // "" is the core group
	resource string
	sub      string // subresource, "" for none
	name     string
	query    url.Values
	body     any
	cluster  bool   // it is not about the namespace
	path     string // "" unless it is none of a resource
}

// method is the HTTP method of a verb.
func (q call) method() string {
	switch q.verb {
	case "create":
		return http.MethodPost
	case "update":
		return http.MethodPut
	case "patch":
		return http.MethodPatch
	case "delete":
		return http.MethodDelete
	}
	return http.MethodGet
}

// title names the call for people: "patch pods/ephemeralcontainers runner-1".
func (q call) title() string {
	text := q.verb + " " + q.subject() + q.path
	if q.name != "" {
		text += " " + q.name
	}
	return text
}

// subject is the resource as a Role writes it.
func (q call) subject() string {
	if q.sub != "" {
		return q.resource + "/" + q.sub
	}
	return q.resource
}

func (c *Client) url(q call) *url.URL {
	segments := []string{c.base.Path, "api/v1"}
	if q.group != "" {
		segments = []string{c.base.Path, "apis", q.group, "v1"}
	}
	if !q.cluster {
		segments = append(segments, "namespaces", c.place.Namespace)
	}
	if q.path != "" {
		segments = []string{c.base.Path, q.path}
	}
	u := *c.base
	u.Path = path.Join(append(segments, q.resource, q.name, q.sub)...)
	u.RawQuery = q.query.Encode()
	return &u
}

// do makes a call and decodes its answer into answer, unless that is nil. It tries again while that may help.
func (c *Client) do(ctx context.Context, q call, answer any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, fmt.Errorf("the API server has not answered within %s", callLimit))
	defer cancel()
	start, right := time.Now(), q.verb+" "+q.subject()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := c.try(ctx, q, answer)
		if err == nil {
			c.allowed.Store(right, true)
			return nil
		}
		_, before := c.allowed.Load(right)
		if !passing(err) && !(before && apierrors.IsForbidden(err) && isRBAC(serverText(err)) && time.Since(start) < forgetful) {
			return c.refusal(q, err)
		}
		c.log.DebugContext(ctx, "api: once more", "call", q.title(), "error", err)
		if !c.pause(ctx, max(asked(err), jitter(pause))) {
			return c.refusal(q, fmt.Errorf("%w (%w)", err, context.Cause(ctx)))
		}
	}
}

// try makes a call once.
func (c *Client) try(ctx context.Context, q call, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	start := time.Now()
	body, err := c.open(ctx, q)
	if err != nil {
		return err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	c.log.DebugContext(ctx, "api", "call", q.title(), "took", time.Since(start))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// open makes a call once and gives the body of a successful answer.
func (c *Client) open(ctx context.Context, q call) (io.ReadCloser, error) {
	request, err := c.request(ctx, q)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return response.Body, nil
	}
	defer response.Body.Close()
	return nil, statusError(q, response)
}

func (c *Client) request(ctx context.Context, q call) (*http.Request, error) {
	var body io.Reader
	kind := "application/json"
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	if q.verb == "patch" {
		kind = "application/strategic-merge-patch+json"
	}
	request, err := http.NewRequestWithContext(ctx, q.method(), c.url(q).String(), body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", kind)
	}
	return request, nil
}

// statusError is what the server answered, as client-go's errors are.
func statusError(q call, response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	var status metav1.Status
	if json.Unmarshal(text, &status) != nil || status.Kind != "Status" || status.Reason == "" && status.Message == "" {
		resource := schema.GroupResource{Group: q.group, Resource: q.resource}
		return apierrors.NewGenericServerResponse(response.StatusCode, q.verb, resource, q.name, string(text), retryAfter(response), true)
	}
	if seconds := retryAfter(response); seconds > 0 {
		if status.Details == nil {
			status.Details = &metav1.StatusDetails{}
		}
		status.Details.RetryAfterSeconds = int32(min(seconds, 3600))
	}
	if status.Code == 0 {
		status.Code = int32(response.StatusCode)
	}
	return &apierrors.StatusError{ErrStatus: status}
}

func retryAfter(response *http.Response) int {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil {
		return 0
	}
	return seconds
}

// passing tells whether a try that ended so is worth another one. What has been refused is refused again; what broke,
// or came to a server that is just starting or overloaded, may work.
func passing(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return !errors.Is(err, context.Canceled) && !distrusts(err)
	}
	switch code := status.Status().Code; {
	case code == http.StatusTooManyRequests, code >= 500 && code != http.StatusNotImplemented:
		return true
	case code == http.StatusForbidden:
		return startingUp(status.Status().Message)
	}
	return false
}

// asked is how long the server wants to be left in peace.
func asked(err error) time.Duration {
	seconds, ok := apierrors.SuggestsClientDelay(err)
	if !ok {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, callLimit)
}

// jitter spreads tries of many hooks over time.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
