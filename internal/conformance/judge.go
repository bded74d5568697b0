package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// judge compares what was seen with what a call expects.
func (sc *scene) judge(ctx context.Context, call *Call, seen *observation) ([]Failure, error) {
	want := &Expect{}
	if !call.Expect.IsZero() {
		expanded, err := expand(&call.Expect, sc.lookup)
		if err != nil {
			// What it names comes from a response that is not as it should be.
			return append(sc.judgeEnd(want, call, seen), Failure{What: "what the case looks at", Expected: "is known", Observed: err.Error()}), nil
		}
		if err := strict(expanded, want); err != nil {
			return nil, err
		}
	}
	failures := sc.judgeEnd(want, call, seen)
	failures = append(failures, seen.meanwhile...)
	failures = append(failures, want.Stdout.failures("stdout", seen.stdout)...)
	failures = append(failures, want.Stderr.failures("stderr", seen.stderr)...)
	if want.Output != nil {
		output := seen.stdout
		if seen.stderr.Size > 0 {
			output = seen.stdout.then(seen.stderr)
		}
		failures = append(failures, want.Output.failures("output", output)...)
	}
	failures = append(failures, judgeResponse(want, seen.text)...)
	failures = append(failures, sc.judgeFiles(want)...)
	engine, err := sc.judgeEngine(ctx, want)
	return append(failures, engine...), err
}

// judgeEnd is about how and when the call ended.
func (sc *scene) judgeEnd(want *Expect, call *Call, seen *observation) []Failure {
	var found []Failure
	report := func(wrong bool, what, expected, observed string) {
		if wrong {
			found = append(found, Failure{What: what, Expected: expected, Observed: observed})
		}
	}
	report(seen.hung, "duration", "ends by itself", "it was still running when the suite gave up")
	s := want.Status
	printed := "\n" + excerpt(seen.stdout.Text+seen.stderr.Text)
	switch {
	case s != nil && s.Any:
	case s != nil && s.NonZero:
		report(seen.status == 0, "status", "is not 0", "0"+printed)
	case s != nil:
		report(!slices.Contains(s.OneOf, seen.status), "status", "is "+orList(s.OneOf), strconv.Itoa(seen.status)+printed)
	default:
		report(seen.status != 0 && call.Cancel == nil, "status", "is 0", strconv.Itoa(seen.status)+printed)
	}
	if s.success() && seen.status == 0 && seen.runnerErr != nil && call.Cancel == nil {
		report(true, "the runner", "accepts the response", fmt.Sprintf("%v\n%s", seen.runnerErr, excerpt(string(seen.text))))
	}
	report(want.Within > 0 && seen.took > want.Within, "duration", "at most "+want.Within.String(), seen.took.Round(time.Millisecond).String())
	report(seen.took < want.AtLeast, "duration", "at least "+want.AtLeast.String(), seen.took.Round(time.Millisecond).String())
	report(seen.held && !want.OutputHeld, "output", "is closed when the hook ends", "another process keeps it open, which costs the runner 5 s")
	return found
}

func orList(numbers []int) string {
	var words []string
	for _, n := range numbers {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, " or ")
}

func judgeResponse(want *Expect, text []byte) []Failure {
	failures := want.ResponseText.failures("response file", plain(string(text)))
	if len(want.Response) == 0 {
		return failures
	}
	var response any
	if len(strings.TrimSpace(string(text))) > 0 {
		if err := json.Unmarshal(text, &response); err != nil {
			return append(failures, Failure{What: "response file", Expected: "is JSON", Observed: err.Error() + ": " + excerpt(string(text))})
		}
	}
	for _, path := range slices.Sorted(maps.Keys(want.Response)) {
		value, there := at(response, path)
		failures = append(failures, want.Response[path].failures("response: "+path, value, there)...)
	}
	return failures
}

func (sc *scene) judgeFiles(want *Expect) []Failure {
	var found []Failure
	for _, name := range slices.Sorted(maps.Keys(want.Files)) {
		found = append(found, want.Files[name].failures(name, sc.path(name))...)
	}
	for _, name := range slices.Sorted(maps.Keys(want.FilesLack)) {
		if with := filesWith(sc.path(name), want.FilesLack[name]); len(with) > 0 {
			found = append(found, Failure{What: "files below " + name, Expected: "none contains " + want.FilesLack[name], Observed: with[0]})
		}
	}
	return found
}

// failures of a file or folder.
func (state *FileState) failures(name, path string) []Failure {
	var found []Failure
	report := func(expected, observed string) {
		found = append(found, Failure{What: name, Expected: expected, Observed: observed})
	}
	text, err := os.ReadFile(path)
	switch {
	case state.Absent && !errors.Is(err, fs.ErrNotExist):
		report("is not there", "it is")
	case state.Text != nil && err != nil:
		report("can be read", err.Error())
	case state.Text != nil:
		found = append(found, state.Text.failures(name, plain(string(text)))...)
	}
	if others, err := besides(path, state.Only); err != nil || len(others) > 0 {
		report("is a folder with nothing in it but "+strings.Join(state.Only, ", "), fmt.Sprintf("%q %v", others, err))
	}
	if state.Removable {
		if err := os.RemoveAll(path); err != nil {
			report("the runner's user can remove it", err.Error())
		}
	}
	return found
}

// besides are the entries of a folder that match none of the patterns. Without patterns everything may be there.
func besides(folder string, patterns []string) ([]string, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir(folder)
	var others []string
	for _, e := range entries {
		if !slices.ContainsFunc(patterns, func(p string) bool { ok, _ := filepath.Match(p, e.Name()); return ok }) {
			others = append(others, e.Name())
		}
	}
	return others, err
}

// judgeEngine is about what is there outside, which may take a moment to be so.
func (sc *scene) judgeEngine(ctx context.Context, want *Expect) ([]Failure, error) {
	for end := time.Now().Add(cmp.Or(sc.suite.Patience, 10*time.Second)); ; {
		failures, err := sc.outside(ctx, want)
		if err != nil || len(failures) == 0 || time.Now().After(end) {
			return failures, err
		}
		if err := sleep(ctx, 10*poll); err != nil {
			return failures, err
		}
	}
}

func (sc *scene) outside(ctx context.Context, want *Expect) ([]Failure, error) {
	var found []Failure
	report := func(wrong bool, what, expected, observed string) {
		if wrong {
			found = append(found, Failure{What: what, Expected: expected, Observed: observed})
		}
	}
	gone, alive := want.ProcessesGone, want.ProcessesAlive
	report(gone != "" && len(processesWith(gone)) > 0, "processes of this machine", "none has "+gone, "there is one")
	report(alive != "" && len(processesWith(alive)) == 0, "processes of this machine", "one has "+alive, "there is none")
	for _, r := range want.Reach {
		says, err := ask(r)
		report(err != nil || !strings.Contains(says, r.Says), "port "+r.Port+" of this machine", fmt.Sprintf("says %q", r.Says), fmt.Sprintf("%q %v", says, err))
	}
	for _, repository := range slices.Sorted(maps.Keys(want.Requests)) {
		n := sc.suite.open.Requests(repository)
		report(n > want.Requests[repository], "requests for the image "+repository, fmt.Sprintf("at most %d", want.Requests[repository]), strconv.Itoa(n))
	}
	if want.Containers != nil || want.Networks != nil || want.Volumes != nil || want.InspectLacks != "" {
		have, err := sc.owned.now(ctx)
		if err != nil {
			return found, err
		}
		counts := func(what string, number *int, have []string) {
			if number != nil {
				report(len(have) != *number, what+" of this job", strconv.Itoa(*number), fmt.Sprintf("%d: %v", len(have), have))
			}
		}
		counts("containers", want.Containers, have.Containers)
		if sc.suite.Engine.Meets("networks") {
			counts("networks", want.Networks, have.Networks)
		}
		counts("volumes", want.Volumes, have.Volumes)
		if err := sc.inspectLacks(ctx, want.InspectLacks, have.Containers, report); err != nil {
			return found, err
		}
	}
	if err := sc.existence(ctx, want, report); err != nil {
		return found, err
	}
	more, err := sc.inspections(ctx, want)
	return append(found, more...), err
}

type reporter func(wrong bool, what, expected, observed string)

func (sc *scene) inspectLacks(ctx context.Context, text string, containers []string, report reporter) error {
	if text == "" {
		return nil
	}
	for _, id := range containers {
		says, err := sc.suite.Engine.Inspect(ctx, id)
		if err != nil {
			return err
		}
		report(strings.Contains(says.All, text), "inspect of a container", "nowhere has "+text, "it has")
	}
	return nil
}

func (sc *scene) existence(ctx context.Context, want *Expect, report reporter) error {
	check := func(objects []string, wanted bool, expected, observed string) error {
		for _, object := range objects {
			kind, name, _ := strings.Cut(object, " ")
			there, err := sc.suite.Engine.Exists(ctx, kind, name)
			if err != nil {
				return err
			}
			report(there != wanted, object, expected, observed)
		}
		return nil
	}
	if err := check(want.Gone, false, "is gone", "it is there"); err != nil {
		return err
	}
	return check(want.Exist, true, "is there", "it is not")
}

func (sc *scene) inspections(ctx context.Context, want *Expect) ([]Failure, error) {
	var found []Failure
	for _, which := range slices.Sorted(maps.Keys(want.Inspect)) {
		id, ok := sc.lookup(which)
		if !ok {
			found = append(found, Failure{What: which, Expected: "its id is in the response", Observed: "it is not"})
			continue
		}
		facts, err := sc.suite.Engine.Inspect(ctx, id)
		if err != nil {
			found = append(found, Failure{What: which, Expected: "the engine knows the id of the response", Observed: err.Error()})
			continue
		}
		says, err := plainJSON(facts)
		if err != nil {
			return nil, err
		}
		for _, path := range slices.Sorted(maps.Keys(want.Inspect[which])) {
			value, there := at(says, path)
			found = append(found, want.Inspect[which][path].failures("inspect "+which+": "+path, value, there)...)
		}
	}
	return found, nil
}

// ask connects to a port of this machine and gives what it says.
func ask(r Reach) (string, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", r.Port), 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(r.Send)); err != nil {
		return "", err
	}
	var all []byte
	for buffer := make([]byte, 4096); ; {
		n, err := conn.Read(buffer)
		all = append(all, buffer[:n]...)
		if err != nil || strings.Contains(string(all), r.Says) {
			return string(all), nil
		}
	}
}

// refusal is how a hook says clearly that it does not do something, on a line of its output.
var refusal = regexp.MustCompile(`(?im)^.*(\bnot (currently |yet )?supported\b|\bunsupported\b|\bdoes not support\b|\bcannot be (used|built|mounted|published) (by|with|on) this (hook|engine)\b).*$`)

// refused gives the line with which a hook says that it does not do what a call wants; "" for none.
func refused(seen *observation) string {
	if seen.status == 0 {
		return ""
	}
	return strings.TrimSpace(refusal.FindString(seen.stdout.Text + "\n" + seen.stderr.Text))
}
