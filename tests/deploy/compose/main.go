// Reads a compose file as Docker Compose does, with its own library, and says what is wrong with it: compose FILE ENV_FILE
//
// Nothing but ENV_FILE is in the environment, so what the example lacks is found. Beyond the specification it holds this
// repository's own rules: images have a version, ports are published on loopback only, what is waited for to be healthy can
// be, and files that are mounted exist.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "compose: say FILE and ENV_FILE")
		os.Exit(2)
	}
	project, err := load(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	faults := 0
	for _, service := range project.Services {
		for _, fault := range judge(project, service) {
			fmt.Fprintf(os.Stderr, "%s: %s: %s\n", os.Args[1], service.Name, fault)
			faults++
		}
	}
	if faults > 0 {
		os.Exit(1)
	}
	fmt.Printf("%s: %d services are in order\n", os.Args[1], len(project.Services))
}

func load(file, envFile string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnvFiles(envFile), cli.WithDotEnv)
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func judge(project *types.Project, service types.ServiceConfig) []string {
	var faults []string
	fault := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }
	name := service.Image[strings.LastIndex(service.Image, "/")+1:]
	if !strings.Contains(name, ":") || strings.HasSuffix(name, ":latest") {
		fault("the image %q has no version", service.Image)
	}
	for _, port := range service.Ports {
		if ip := net.ParseIP(port.HostIP); ip == nil || !ip.IsLoopback() {
			fault("port %s is published on %q and not on a loopback address", port.Published, port.HostIP)
		}
	}
	for other, dependency := range service.DependsOn {
		check := project.Services[other].HealthCheck
		if dependency.Condition == types.ServiceConditionHealthy && (check == nil || check.Disable || len(check.Test) == 0) {
			fault("it waits for %s to be healthy, which has no health check here", other)
		}
	}
	for _, volume := range service.Volumes {
		if volume.Type != types.VolumeTypeBind {
			continue
		}
		if _, err := os.Stat(volume.Source); err != nil {
			fault("%s is mounted and is not there", volume.Source)
		}
	}
	return faults
}
