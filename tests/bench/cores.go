// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"slices"
)

// cores says who runs where. Empty lists mean unpinned; then only the number of threads is limited.
type cores struct {
	Server    []int `json:"server,omitempty"`
	Generator []int `json:"generator,omitempty"`
	Sink      []int `json:"sink,omitempty"`

	ServerCount    int `json:"server_count"`
	GeneratorCount int `json:"generator_count"`
	SinkCount      int `json:"sink_count"`
}

// divide shares the allowed cores out: half to the server (or as many as wanted, where positive), the rest to
// generator and sink, which share one when there is only one left. With a single core, or on a system without
// pinning, nobody is pinned.
func divide(allowed []int, wanted int) (cores, error) {
	total := len(allowed)
	if total == 0 {
		total = runtime.NumCPU()
	}
	if wanted > 0 && wanted >= total && total > 1 {
		return cores{}, fmt.Errorf("-cores %d leaves none of %d for the generator", wanted, total)
	}
	server := wanted
	if server <= 0 {
		server = max(total/2, 1)
	}
	rest := total - server
	sink := max(rest/2, 1)
	generator := max(rest-sink, 1)
	c := cores{ServerCount: server, GeneratorCount: generator, SinkCount: sink}
	if len(allowed) > 1 {
		c.Server = allowed[:server]
		c.Generator = allowed[server : server+generator]
		c.Sink = allowed[total-sink:]
	}
	return c, nil
}

// placeGenerator moves this process to the generator's cores, and to the sink's too while the sink has
// nothing to do: then the generator has the power to keep the server busy.
func (c cores) placeGenerator(sinkWorks bool) error {
	runtime.GOMAXPROCS(c.generatorCount(sinkWorks))
	if !c.pinned() {
		return nil
	}
	return pinSelf(c.generatorCores(sinkWorks))
}

// generatorCount is the number of cores that placeGenerator gives.
func (c cores) generatorCount(sinkWorks bool) int {
	if c.pinned() {
		return len(c.generatorCores(sinkWorks))
	}
	return c.GeneratorCount
}

func (c cores) generatorCores(sinkWorks bool) []int {
	if sinkWorks {
		return c.Generator
	}
	return slices.Compact(slices.Concat(c.Generator, c.Sink))
}

// all returns every core that is given to somebody.
func (c cores) all() []int {
	return slices.Compact(slices.Concat(c.Server, c.Generator, c.Sink))
}

// pinned tells whether the server has its cores to itself.
func (c cores) pinned() bool { return len(c.Server) > 0 }
