package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// Promises about a hook that gets a signal, whatever it is doing.
const (
	hookLimit = 10 * time.Second // it ends: the runner's own patience
	goneLimit = 5 * time.Second  // no process of the step is alive, and no container of a step
)

// fault is one signal to the hook at one place.
type fault struct {
	scene  scene
	place  string
	signal syscall.Signal
}

// scene is a kind of call with the places that it passes.
type scene struct {
	name   string
	places []string
	// play has the hook killed, and checks what must hold then.
	play func(t *testing.T, s *stage, f fault)
}

// envAllFaults has every signal tried at every place on each engine. Without it, each engine gets another one of them at
// each place.
const envAllFaults = "GANTRY_TEST_ALL_FAULTS"

// TestAHookKilledAnywhereLeavesNothing kills the hook at each place.
func TestAHookKilledAnywhereLeavesNothing(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT}
		first := max(0, slices.Index([]string{"docker", "podman", "podman-rootless"}, e.Label))
		signals = append(signals[first:], signals[:first]...)
		sum := &figures{engine: e.Label}
		t.Run("lanes", func(t *testing.T) {
			for i, lane := range lanes() {
				t.Run(strconv.Itoa(i+1), func(t *testing.T) {
					t.Parallel()
					s := newStage(t, e, sum)
					for i, f := range planFaults(lane, signals) {
						t.Run(fmt.Sprintf("%s/%s/%v", f.scene.name, f.place, f.signal), func(t *testing.T) {
							s.number = i
							s.play(t, f)
						})
					}
					s.end(t, &s.runner)
					s.end(t, &s.full)
				})
			}
		})
		t.Log(sum)
	})
}

// planFaults crosses places and signals. Without envAllFaults, each place gets one signal, in turn.
func planFaults(scenes []scene, signals []syscall.Signal) []fault {
	var faults []fault
	for _, sc := range scenes {
		for i, place := range sc.places {
			chosen := signals
			if os.Getenv(envAllFaults) == "" {
				chosen = signals[i%len(signals) : i%len(signals)+1]
			}
			for _, sig := range chosen {
				faults = append(faults, fault{sc, place, sig})
			}
		}
	}
	return faults
}

// TestEveryFailpointIsTried keeps the list of places complete.
func TestEveryFailpointIsTried(t *testing.T) {
	var tried []string
	for _, lane := range lanes() {
		for _, sc := range lane {
			tried = append(tried, sc.places...)
		}
	}
	out, err := exec.CommandContext(t.Context(), "grep", "-rhoE", "--include=*.go", "--exclude=*_test.go",
		`failpoint\.Hit\("[^"]+"\)`, "../../internal", "../../cmd").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		place := strings.Split(line, `"`)[1]
		if !slices.Contains(tried, place) {
			t.Errorf("no scene has the place %s", place)
		}
	}
}

// figures are what the faults came to.
type figures struct {
	engine string

	mu                         sync.Mutex
	places                     map[string]bool
	tried, survived, leftovers int
	slowest                    time.Duration // until nothing of the step was alive
	slowestAt                  string
}

func (f *figures) add(ft fault, survived bool, leftovers int, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.places == nil {
		f.places = map[string]bool{}
	}
	f.places[ft.scene.name+ft.place] = true
	f.tried++
	f.leftovers += leftovers
	if survived {
		f.survived++
	}
	if took > f.slowest {
		f.slowest, f.slowestAt = took, fmt.Sprintf("%s/%s/%v", ft.scene.name, ft.place, ft.signal)
	}
}

func (f *figures) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("faults on %s: places %d, tried %d, survived %d, leftovers %d, slowest end of a step %.1f s (%s)",
		f.engine, len(f.places), f.tried, f.survived, f.leftovers, f.slowest.Seconds(), f.slowestAt)
}

// processesWith are the commands of living processes of this machine with a word in their command line, other
// than those of the tests.
func processesWith(word string) []string {
	var found []string
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range names {
		args, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(args), word) || dir == "/proc/"+strconv.Itoa(os.Getpid()) {
			continue
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		if rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:]); !strings.HasPrefix(rest, " Z") && !strings.HasPrefix(rest, " X") {
			found = append(found, filepath.Base(dir)+rest[:2]+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}
