package kubeapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// Decisions about a refusal. Errors of a Client wrap them; callers use errors.Is.
var (
	// ErrForbidden: the service account has no permission for it.
	ErrForbidden = errors.New("the cluster's access rules do not allow it")
	// ErrQuota: the namespace's quota is used up.
	ErrQuota = errors.New("the quota of the namespace is used up")
	// ErrPodSecurity: the pod does not keep to the namespace's Pod Security level.
	ErrPodSecurity = errors.New("the namespace's Pod Security level does not allow it")
	// ErrConflict: somebody else has changed the object meanwhile, or it exists already.
	ErrConflict = errors.New("the object is not as it was expected")
	// ErrInvalid: the server does not understand what it was sent, or does not accept it.
	ErrInvalid = errors.New("the API server does not accept it")
)

// refusal words the error of a call that is not tried again.
func (c *Client) refusal(q call, err error) error {
	if err == nil {
		return nil
	}
	kind := c.judge(q, err)
	v := &verdict.Error{
		Whose: kind.whose, Hint: kind.hint, Output: serverText(err), Command: c.command(q),
		Err: fmt.Errorf("asking the API server to %s: %w", q.title(), err),
	}
	if kind.cause != nil {
		v.Err = fmt.Errorf("asking the API server to %s: %w: %w", q.title(), kind.cause, err)
	}
	return v
}

// judged is what a refusal means.
type judged struct {
	cause error
	whose verdict.Whose
	hint  string
}

func (c *Client) judge(q call, err error) judged {
	text := serverText(err)
	switch {
	case text == "":
		return c.unanswered(err)
	case apierrors.IsUnauthorized(err):
		return judged{ErrForbidden, verdict.Configuration,
			"the API server does not know who asks: check " + c.place.Source + " (an expired token, a service account that was deleted)"}
	case passing(err): // for as long as tries were made
		return judged{engine.ErrUnavailable, verdict.Infrastructure, "is the API server overloaded, or being restarted? `kubectl get --raw /readyz` tells"}
	case strings.Contains(text, "failed quota") && strings.Contains(text, "must specify"):
		return judged{ErrInvalid, verdict.Configuration, "the namespace " + c.place.Namespace + " has a ResourceQuota, which wants every container " +
			"to have requests and limits: set limits.cpus and limits.memory in gantry.yaml, or add a LimitRange with defaults to the namespace"}
	case strings.Contains(text, "exceeded quota"), strings.Contains(text, "status unknown for quota"):
		return judged{ErrQuota, verdict.Infrastructure,
			"raise the ResourceQuota of the namespace " + c.place.Namespace + ", or let fewer jobs run at once"}
	case strings.Contains(text, "violates PodSecurity"):
		return judged{ErrPodSecurity, verdict.Configuration,
			"use an image whose user is not root, and see docs/kubernetes.md on Pod Security levels"}
	case apierrors.IsForbidden(err) && isRBAC(text):
		return judged{ErrForbidden, verdict.Configuration, c.missingRule(q)}
	case apierrors.IsForbidden(err):
		return judged{nil, verdict.Configuration, "an admission rule of the cluster refuses it: ask its administrator about the text above"}
	case apierrors.IsNotFound(err) && namespaceGone(text, c.place.Namespace):
		return judged{engine.ErrNotFound, verdict.Configuration,
			"the namespace " + c.place.Namespace + " does not exist: make it, or correct ACTIONS_RUNNER_KUBERNETES_NAMESPACE"}
	case apierrors.IsNotFound(err):
		return judged{engine.ErrNotFound, verdict.Infrastructure, "has somebody or something in the cluster deleted it?"}
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
		return judged{ErrConflict, verdict.Infrastructure, "does another runner use the same names?"}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return judged{ErrInvalid, verdict.Configuration, "check the pod template and the container's options: `gantry render` shows the pod"}
	}
	return judged{nil, verdict.Infrastructure, "what answers is no API server as gantry knows it: look at its answer above"}
}

// unanswered is about calls that brought no answer of the API server.
func (c *Client) unanswered(err error) judged {
	if distrusts(err) {
		return judged{engine.ErrUnavailable, verdict.Configuration,
			"the API server's certificate is not the one that " + c.place.Source + " expects"}
	}
	return judged{engine.ErrUnavailable, verdict.Infrastructure,
		"check that " + c.place.Config.Host + " can be reached from here (network policies, proxy variables), and that the API server runs"}
}

// missingRule tells what to add to the runner's Role.
func (c *Client) missingRule(q call) string {
	hint := fmt.Sprintf("allow it to the runner's service account: add to the rules of its Role in the namespace %s\n%s",
		c.place.Namespace, rbac.Missing(q.verb, q.group, q.subject()))
	if own := c.place.Home; own != "" && own != c.place.Namespace { // one that does not exist looks the same
		hint = fmt.Sprintf("is the namespace %s there, and is it the right one (ACTIONS_RUNNER_KUBERNETES_NAMESPACE)? The runner's pod is in %s. If so, %s",
			c.place.Namespace, own, hint)
	}
	return strings.TrimRight(hint, "\n")
}

// command is how a reader can try the same.
func (c *Client) command(q call) string {
	if q.sub != "" || q.cluster {
		return ""
	}
	verb := q.verb
	switch verb {
	case "list", "watch":
		verb = "get"
	case "get", "delete":
	default:
		return fmt.Sprintf("kubectl -n %s auth can-i %s %s", c.place.Namespace, verb, q.resource)
	}
	return strings.TrimSpace(fmt.Sprintf("kubectl -n %s %s %s %s", c.place.Namespace, verb, q.resource, q.name))
}

// serverText is the API server's own message in an error, "" if the error is not its answer.
func serverText(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	if text := status.Status().Message; text != "" {
		return text
	}
	return string(status.Status().Reason)
}

// isRBAC tells the words of the authorizer from those of admission plugins, which answer with the same status.
func isRBAC(text string) bool {
	return strings.Contains(text, " cannot ") && strings.Contains(text, "resource")
}

// namespaceGone tells that the namespace is missing, not the object.
func namespaceGone(text, namespace string) bool {
	return strings.Contains(text, fmt.Sprintf("namespaces %q not found", namespace))
}

// startingUp tells a server that is not ready yet from one that refuses.
func startingUp(text string) bool { return strings.Contains(text, "not yet ready to handle request") }

// distrusts tells errors about certificates, which another try does not mend.
func distrusts(err error) bool {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) || errors.As(err, &verification)
}

// ended is ctx's own reason if that is over.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
