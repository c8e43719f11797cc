// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"time"
)

// usage is processor time: of the three processes, and of whatever ran on the cores of the three.
type usage struct{ server, generator, sink, all time.Duration }

func (u usage) others() time.Duration { return u.all - u.server - u.generator - u.sink }

func (s *suite) usage(server *child) usage {
	u := usage{server: server.cpuTime(), generator: cpuTimeOf(os.Getpid()), sink: s.sinkProcess.cpuTime()}
	if s.cores.pinned() {
		u.all = busyTime(s.cores.all())
	}
	return u
}

func (u usage) since(before usage) usage {
	return usage{
		server:    u.server - before.server,
		generator: u.generator - before.generator,
		sink:      u.sink - before.sink,
		all:       u.all - before.all,
	}
}

// coreShare returns the part of its cores that a process used within wall.
func coreShare(used, wall time.Duration, cores int) float64 {
	return ratio(used.Seconds(), wall.Seconds()*float64(cores))
}
