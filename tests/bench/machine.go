// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// machine says where and with what the figures were made.
type machine struct {
	System    string            `json:"system"`
	Processor string            `json:"processor,omitempty"`
	CoreCount int               `json:"core_count"`
	MemoryMiB float64           `json:"memory_mib,omitempty"`
	Kernel    string            `json:"kernel,omitempty"`
	Go        string            `json:"go"`
	Modules   map[string]string `json:"modules"`
	SyncP50   float64           `json:"sync_p50_ms"` // one 4 KiB write and fsync where the stores lie
	SyncP99   float64           `json:"sync_p99_ms"`
	Cores     cores             `json:"cores"`
}

func describe(binary, dir string, c cores) (machine, error) {
	m := machine{
		System:    runtime.GOOS + "/" + runtime.GOARCH,
		CoreCount: runtime.NumCPU(),
		Modules:   map[string]string{},
		Cores:     c,
	}
	if cpuinfo, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.Processor = colonField(cpuinfo, "model name")
	}
	if meminfo, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.MemoryMiB = mebibytes(parseMemory(meminfo, "MemTotal:"))
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return m, fmt.Errorf("reading the versions in %s: %w", binary, err)
	}
	m.Go = info.GoVersion
	for _, dep := range info.Deps {
		switch dep.Path {
		case "github.com/caddyserver/caddy/v2", "github.com/cockroachdb/pebble/v2":
			m.Modules[dep.Path] = dep.Version
		}
	}
	m.SyncP50, m.SyncP99, err = measureSync(dir)
	return m, err
}

func colonField(content []byte, name string) string {
	for line := range bytes.Lines(content) {
		key, value, found := bytes.Cut(line, []byte(":"))
		if found && string(bytes.TrimSpace(key)) == name {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// measureSync returns what one write and fsync costs in dir, in milliseconds. A result near zero means that
// the directory is in memory, and then accept's figures say nothing about a disk.
func measureSync(dir string) (p50, p99 float64, err error) {
	file, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, 0, fmt.Errorf("measuring fsync: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	block := make([]byte, 4096)
	samples := make([]int64, 200)
	for i := range samples {
		begin := time.Now()
		if _, err := file.Write(block); err != nil {
			return 0, 0, fmt.Errorf("measuring fsync: %w", err)
		}
		if err := file.Sync(); err != nil {
			return 0, 0, fmt.Errorf("measuring fsync: %w", err)
		}
		samples[i] = time.Since(begin).Nanoseconds()
	}
	return millis(percentile(samples, 50)), millis(percentile(samples, 99)), nil
}

// build builds the gateway of the repository at repo into dir, as its releases are built.
func build(ctx context.Context, repo, dir string) (string, error) {
	binary := filepath.Join(dir, "caddy")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./cmd/caddy")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building ./cmd/caddy in %s: %w\n%s", repo, err, output)
	}
	return binary, nil
}

// checkDown makes sure that nobody answers at the address that stands for an upstream that is down.
func checkDown() error {
	conn, err := net.DialTimeout("tcp", downAddress, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("something listens on %s, which has to refuse connections", downAddress), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && runtime.GOOS != "windows" {
		return fmt.Errorf("%s has to refuse connections: %w", downAddress, err)
	}
	return nil
}

func (m machine) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %s, %d cores, %.0f MiB, kernel %s, %s", m.System, m.Processor, m.CoreCount, m.MemoryMiB, m.Kernel, m.Go)
	for _, path := range slices.Sorted(maps.Keys(m.Modules)) {
		fmt.Fprintf(w, ", %s %s", path, m.Modules[path])
	}
	if m.Cores.pinned() {
		fmt.Fprintf(w, "\nserver on cores %v, generator on %v, sink on %v", m.Cores.Server, m.Cores.Generator, m.Cores.Sink)
	} else {
		fmt.Fprintf(w, "\nnot pinned: server with %d threads, generator %d, sink %d; they disturb each other",
			m.Cores.ServerCount, m.Cores.GeneratorCount, m.Cores.SinkCount)
	}
	fmt.Fprintf(w, "\nfsync of 4 KiB: p50 %.2f ms, p99 %.2f ms\n", m.SyncP50, m.SyncP99)
}
