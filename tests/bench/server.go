// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// child is a process of the benchmark: a server under test, or the sink.
type child struct {
	cmd    *exec.Cmd
	addr   string
	log    string
	exited chan struct{}
	kill   func()
}

// launch starts cmd on the given cores with as many threads of Go code as procs. The process ends with ctx.
func launch(ctx context.Context, cmd *exec.Cmd, cores []int, procs int) (*child, error) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "GOMAXPROCS="+strconv.Itoa(procs))
	if err := startPinned(cmd, cores); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	c := &child{cmd: cmd, exited: make(chan struct{})}
	c.kill = sync.OnceFunc(func() { _ = cmd.Process.Kill() })
	go func() {
		_ = cmd.Wait()
		close(c.exited)
	}()
	context.AfterFunc(ctx, c.kill)
	return c, nil
}

// stop asks the process to end, and kills it when it has not after ten seconds.
func (c *child) stop() {
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		c.kill()
	}
	select {
	case <-c.exited:
	case <-time.After(10 * time.Second):
		c.crash()
	}
}

// crash kills the process at once and waits for its end.
func (c *child) crash() {
	c.kill()
	<-c.exited
}

// startSink starts this program again as the sink.
func startSink(ctx context.Context, c cores) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding own program: %w", err)
	}
	cmd := exec.Command(self, "sink", strconv.Itoa(c.SinkCount))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("connecting to the sink: %w", err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("connecting to the sink: %w", err)
	}
	address := make(chan string, 1)
	child, err := launch(ctx, cmd, c.Sink, c.SinkCount)
	if err != nil {
		return nil, err
	}
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		address <- strings.TrimSpace(line)
	}()
	select {
	case child.addr = <-address:
	case <-time.After(10 * time.Second):
	}
	if child.addr == "" {
		child.crash()
		return nil, errors.New("starting the sink: it printed no address")
	}
	return child, nil
}

// serverSpec is a Caddy to start: its binary, its Caddyfile as a function of its address, and a directory of its own.
type serverSpec struct {
	binary string
	dir    string
	config func(addr string) string
	cores  cores
}

// startServer starts Caddy on a free port of the loopback address and returns at once; see ready.
func startServer(ctx context.Context, spec serverSpec) (*child, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(spec.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the server's directory: %w", err)
	}
	caddyfile := filepath.Join(spec.dir, "Caddyfile")
	if err := os.WriteFile(caddyfile, []byte(spec.config(addr)), 0o600); err != nil {
		return nil, fmt.Errorf("writing the Caddyfile: %w", err)
	}
	logPath := filepath.Join(spec.dir, "log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the server's log: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(spec.binary, "run", "--config", caddyfile, "--adapter", "caddyfile")
	cmd.Dir = spec.dir
	cmd.Env = append(os.Environ(), "HOME="+spec.dir, "XDG_DATA_HOME="+spec.dir, "XDG_CONFIG_HOME="+spec.dir)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	server, err := launch(ctx, cmd, spec.cores.Server, spec.cores.ServerCount)
	if err != nil {
		return nil, err
	}
	server.addr, server.log = addr, logPath
	return server, nil
}

// ready waits until try succeeds, and fails when the server ends before or patience runs out.
func (c *child) ready(ctx context.Context, patience time.Duration, try func() bool) error {
	deadline := time.Now().Add(patience)
	for !try() {
		select {
		case <-c.exited:
			return fmt.Errorf("the server ended at start; its log ends with:\n%s", c.logTail())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server was not ready after %s; its log ends with:\n%s", patience, c.logTail())
		}
		if !pause(ctx, 2*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// listening tells whether the server takes connections.
func (c *child) listening() bool {
	conn, err := net.DialTimeout("tcp", c.addr, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func (c *child) logTail() string {
	const limit = 4096
	content, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-limit):])
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
