// SPDX-License-Identifier: Apache-2.0

//go:build unix

package wire

import (
	"net"
	"syscall"
)

// prober looks at a connection without work.
type prober struct {
	raw   syscall.RawConn // nil where there is nothing to look at
	look  func(fd uintptr)
	quiet bool // what the look has shown
}

func (p *prober) prepare(under net.Conn) {
	connection, ok := under.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := connection.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	var one [1]byte
	p.look = func(fd uintptr) {
		// This does not block, and what it might take is no answer to anything.
		_, err := syscall.Read(int(fd), one[:])
		p.quiet = err == syscall.EAGAIN
	}
}

// open reports whether the upstream has neither closed the connection nor sent
// something that it was not asked for.
func (c *conn) open() bool {
	c.quiet = false
	return c.raw != nil && c.raw.Control(c.look) == nil && c.quiet
}
