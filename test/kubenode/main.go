// Command kubenode is a one-node Kubernetes in one program: each part runs under its own name, as
// `kubenode kube-apiserver --flag ...`. The tests' command (internal/testbed) builds and starts it.
//
// It is a module of its own because nothing else of the project needs what it needs.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	_ "time/tzdata" // CronJobs with time zones, on machines without the data

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // what the parts tell about their own API calls
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	all := parts()
	if len(args) == 0 || all[args[0]] == nil {
		fmt.Fprintf(os.Stderr, "usage: kubenode %s [flags]\n", strings.Join(slices.Sorted(maps.Keys(all)), "|"))
		return 2
	}
	os.Args = args // the parts read their flags there
	return all[args[0]]()
}

// parts are the programs of a node and its control plane, each by the name that Kubernetes gives it.
func parts() map[string]func() int {
	command := func(make func() *cobra.Command) func() int {
		return func() int { return cli.Run(make()) }
	}
	return map[string]func() int{
		"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
		"kube-apiserver":          command(func() *cobra.Command { return apiserver.NewAPIServerCommand() }),
		"kube-controller-manager": command(func() *cobra.Command { return controllers.NewControllerManagerCommand() }),
		"kube-proxy":              command(func() *cobra.Command { return proxy.NewProxyCommand() }),
		"kube-scheduler":          command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
		"kubelet":                 command(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	}
}
