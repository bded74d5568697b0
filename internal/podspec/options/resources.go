package options

import (
	"encoding/csv"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
)

// withoutLimits takes away the flags that the handler puts behind the workflow's for the administrator's limits: where
// the last flag counts they win, but here the lower value of both does.
func withoutLimits(flags []createopts.Flag, l config.Limits) []createopts.Flag {
	flags = slices.Clone(flags)
	drop := func(name, value string) {
		last := -1
		for i, f := range flags {
			if f.Name == name {
				last = i
			}
		}
		if value != "" && last >= 0 && flags[last].Value == value {
			flags = slices.Delete(flags, last, last+1)
		}
	}
	drop("cpus", l.CPUs)
	drop("memory", l.Memory)
	if l.Pids > 0 {
		drop("pids-limit", strconv.Itoa(l.Pids))
	}
	return flags
}

// noteLimits names limits of the administrator that nothing can set. They are no mistake of the workflow.
func (t *translator) noteLimits() {
	add := func(key, value, reason string) {
		t.out.Notes = append(t.out.Notes, Note{key + " " + value + " of the runner's configuration", reason})
	}
	const ephemeral = "an ephemeral container has no resources of its own: limit the runner's pod, or use kubernetes.mode: pod"
	if t.Target == Ephemeral && t.Limits.CPUs != "" {
		add("limits.cpus", t.Limits.CPUs, ephemeral)
	}
	if t.Target == Ephemeral && t.Limits.Memory != "" {
		add("limits.memory", t.Limits.Memory, ephemeral)
	}
	if t.Limits.Pids > 0 {
		add("limits.pids", strconv.Itoa(t.Limits.Pids), unsupported()["pids-limit"])
	}
}

// resources translates processors and memory, whose flags belong together.
func (t *translator) resources() {
	if t.Target == Ephemeral {
		for _, name := range []string{"cpus", "cpu-quota", "cpu-shares", "memory", "memory-reservation"} {
			if f, ok := t.last(name); ok {
				t.note(f, "%s", notRunning)
			}
		}
		return
	}
	t.resource(corev1.ResourceCPU, t.wantedCPU(), cpuQuantity(t.Limits.CPUs), t.reservedCPU())
	t.resource(corev1.ResourceMemory, t.size("memory"), byteQuantity(t.Limits.Memory), t.size("memory-reservation"))
}

// resource sets limit and request: both to what is wanted, at most the cap; the request to what is reserved, if that
// is less. A cap that stands alone is a limit only: Kubernetes then requests as much.
func (t *translator) resource(name corev1.ResourceName, wanted, limit, reserved *resource.Quantity) {
	if wanted != nil {
		wanted = less(wanted, limit)
		limit = wanted
	}
	if reserved != nil {
		wanted = less(reserved, limit)
	}
	if limit != nil {
		setQuantity(&t.c.Resources.Limits, name, *limit)
	}
	if wanted != nil {
		setQuantity(&t.c.Resources.Requests, name, *wanted)
	}
}

// Modest is what a small container of gantry's own may have, and asks for, where the administrator's limits bound each
// container: a namespace may refuse pods in which one says nothing. Without limits it says nothing.
func Modest(l config.Limits) corev1.ResourceRequirements {
	var r corev1.ResourceRequirements
	set := func(name corev1.ResourceName, bound *resource.Quantity, limit, request string) {
		if bound == nil {
			return
		}
		most, asked := resource.MustParse(limit), resource.MustParse(request)
		setQuantity(&r.Limits, name, *less(&most, bound))
		setQuantity(&r.Requests, name, *less(&asked, bound))
	}
	set(corev1.ResourceCPU, cpuQuantity(l.CPUs), "1", "10m")
	set(corev1.ResourceMemory, byteQuantity(l.Memory), "64Mi", "16Mi")
	return r
}

// less is the lower of two quantities; a nil limit is none.
func less(q, limit *resource.Quantity) *resource.Quantity {
	if limit != nil && limit.Cmp(*q) < 0 {
		return limit
	}
	return q
}

func setQuantity(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = q
}

// wantedCPU is --cpus, or --cpu-quota by --cpu-period; nil for no limit.
func (t *translator) wantedCPU() *resource.Quantity {
	if f, ok := t.last("cpus"); ok {
		q := cpuQuantity(f.Value)
		if q == nil {
			t.wrong(f, "is not a number of processors: write 2 or 1.5")
			return nil
		}
		return unlessZero(q)
	}
	f, ok := t.last("cpu-quota")
	if !ok {
		return nil
	}
	quota, err := strconv.ParseInt(f.Value, 10, 48)
	if err != nil {
		t.wrong(f, "is not a whole number of microseconds")
		return nil
	}
	period := int64(100_000)
	if f, ok := t.last("cpu-period"); ok {
		if period, err = strconv.ParseInt(f.Value, 10, 48); err != nil || period <= 0 {
			t.wrong(f, "is not a whole number of microseconds")
			return nil
		}
	}
	if quota <= 0 {
		return nil
	}
	return unlessZero(resource.NewMilliQuantity(quota*1000/period, resource.DecimalSI))
}

// reservedCPU is --cpu-shares, of which 1024 are one processor: the kubelet reckons the other way round.
func (t *translator) reservedCPU() *resource.Quantity {
	f, ok := t.last("cpu-shares")
	if !ok {
		return nil
	}
	shares, err := strconv.ParseInt(f.Value, 10, 32)
	if err != nil || shares < 0 {
		t.wrong(f, "is not a whole number")
		return nil
	}
	return unlessZero(resource.NewMilliQuantity(shares*1000/1024, resource.DecimalSI))
}

// size reads the last use of a flag whose value is an amount of memory; nil for none.
func (t *translator) size(name string) *resource.Quantity {
	f, ok := t.last(name)
	if !ok {
		return nil
	}
	q := byteQuantity(f.Value)
	if q == nil {
		t.wrong(f, "is not an amount of memory: write 512m or 2g")
		return nil
	}
	return unlessZero(q)
}

func unlessZero(q *resource.Quantity) *resource.Quantity {
	if q.Sign() <= 0 {
		return nil
	}
	return q
}

// gpus reads Docker's "all", "2" and "count=2", and counts the devices of "device=0,1".
func (t *translator) gpus(f createopts.Flag) {
	fields, err := csv.NewReader(strings.NewReader(f.Value)).Read()
	if err != nil {
		t.wrong(f, "write all, or a number")
		return
	}
	count := int64(0)
	for _, field := range fields {
		key, value, has := strings.Cut(field, "=")
		switch {
		case !has:
			count = t.gpuCount(f, key)
		case key == "count":
			count = t.gpuCount(f, value)
		case key == "device":
			count = int64(len(strings.Split(value, ",")))
			t.note(f, "Kubernetes chooses which GPUs a container gets; as many are asked for")
		default:
			t.note(f, "Kubernetes knows only a number of GPUs")
		}
	}
	t.extended("nvidia.com/gpu", count)
}

func (t *translator) gpuCount(f createopts.Flag, text string) int64 {
	if text == "all" || text == "-1" {
		t.note(f, "Kubernetes wants a number of GPUs: one is asked for; write --gpus 2 for more")
		return 1
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		t.wrong(f, "write all, or a number")
		return 0
	}
	return n
}

// extended adds to a resource that a device plugin of the cluster offers.
func (t *translator) extended(name string, count int64) {
	if count == 0 {
		return
	}
	q := t.c.Resources.Limits[corev1.ResourceName(name)]
	q.Add(*resource.NewQuantity(count, resource.DecimalSI))
	setQuantity(&t.c.Resources.Limits, corev1.ResourceName(name), q)
	setQuantity(&t.c.Resources.Requests, corev1.ResourceName(name), q)
}
