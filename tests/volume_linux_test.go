// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// namespaced is set in the environment of a test that runs in namespaces of its own.
const namespaced = "RELAY_TEST_NAMESPACED"

// volume is a small file system of its own.
type volume struct {
	t   testing.TB
	dir string
}

// newVolume mounts a tmpfs of that many bytes. Where the user may not, the test runs again in a user namespace, in
// which he may, and newVolume reports false: the test is over then.
func newVolume(t *testing.T, size int64) (*volume, bool) {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
	switch {
	case err == nil:
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		return &volume{t: t, dir: dir}, true
	case os.Getenv(namespaced) != "":
		t.Skipf("no file system can be mounted here, not even in a user namespace: %v", err)
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		t.Skipf("no file system can be mounted here: %v", err)
	}
	inNamespaces(t)
	return nil, false
}

// inNamespaces runs the test in a user and a mount namespace, where its user is root.
func inNamespaces(t *testing.T) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v",
		"-cycles", fmt.Sprint(*cycles), "-fault.calls", fmt.Sprint(*faultCalls))
	cmd.Env = append(os.Environ(), namespaced+"=1", "RELAY_TEST_CADDY="+caddyBinary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	t.Logf("in namespaces of its own:\n%s", out)
	_, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err != nil && !ended:
		t.Skipf("no file system can be mounted here: user namespaces are refused: %v", err)
	case err != nil:
		t.Error("failed in namespaces of its own")
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name())):
		t.Skip("no file system can be mounted here, not even in a user namespace")
	}
}

// free returns the space that is left, in bytes.
func (v *volume) free() int64 {
	v.t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(v.dir, &stat); err != nil {
		v.t.Fatal(err)
	}
	return int64(stat.Bavail) * stat.Bsize
}

// leave takes space until that many bytes are left.
func (v *volume) leave(left int64) {
	v.t.Helper()
	f, err := os.OpenFile(filepath.Join(v.dir, "filler"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	chunk := make([]byte, 1<<20)
	for free := v.free(); free > left; free = v.free() {
		if _, err := f.Write(chunk[:min(free-left, 1<<20)]); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			v.t.Fatal(err)
		}
	}
}

// giveBack gives back what leave has taken.
func (v *volume) giveBack() {
	v.t.Helper()
	if err := os.Remove(filepath.Join(v.dir, "filler")); err != nil {
		v.t.Fatal(err)
	}
}
