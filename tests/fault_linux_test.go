// SPDX-License-Identifier: Apache-2.0

package tests

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faultSeed chooses which of the faults a short campaign tries, and in which order.
const faultSeed = 1

// faultCalls makes the campaign a full one: every call of a kind in turn, up to that one, with every error.
var faultCalls = flag.Int("fault.calls", 0, "let each of the first so many system calls of a kind fail in TestT4_, not a choice of them")

// usedCalls are the system calls by which the store changes files on tmpfs. It makes none of otherCalls there today.
var (
	usedCalls  = []string{"write", "fdatasync", "fsync", "openat", "renameat", "fallocate"}
	otherCalls = []string{"pwrite64", "ftruncate", "sync_file_range", "mmap"}
)

// callFault is an error that the n-th system call of a kind on the store's files meets, in each thread of the process.
type callFault struct {
	call  string
	errno string
	n     int
}

func (f callFault) String() string { return fmt.Sprintf("%s/%s/%d", f.call, f.errno, f.n) }

// faults returns the first so many faults of a campaign: all calls with all errors first, each with some n up to 20,
// then all with another one.
func faults(count int) []callFault {
	const most = 20
	var kinds []callFault
	for _, call := range usedCalls {
		kinds = append(kinds, callFault{call: call, errno: "EIO"}, callFault{call: call, errno: "ENOSPC"})
	}
	kinds = append(kinds, callFault{call: "openat", errno: "EMFILE"})
	random := rand.New(rand.NewPCG(faultSeed, 0))
	frequent := []string{"write", "fdatasync"}
	orders := make([][]int, len(kinds))
	for i := range orders {
		orders[i] = random.Perm(most)
		if !slices.Contains(frequent, kinds[i].call) {
			slices.Sort(orders[i]) // a thread makes few of them
		}
	}
	var all []callFault
	for round := range most {
		for i, k := range kinds {
			all = append(all, callFault{k.call, k.errno, orders[i][round] + 1})
		}
	}
	return all[:min(count, len(all))]
}

// allFaults returns every call with every error at every n up to most, but for those that a thread does not come to: it
// is made as many calls of a kind as made says when nothing fails, and is given twice as many and ten more.
func allFaults(most int, made map[string]int) (all []callFault) {
	for n := range most {
		for _, call := range slices.Concat(usedCalls, otherCalls) {
			if made[call] == 0 || n >= 2*made[call]+10 {
				continue
			}
			for _, errno := range []string{"EIO", "ENOSPC", "EMFILE"} {
				all = append(all, callFault{call, errno, n + 1})
			}
		}
	}
	return all
}

// madeCalls returns how many calls of each kind a thread makes at most on the store's files, in what a fault is tried in.
func madeCalls(t *testing.T, v *volume) map[string]int {
	t.Helper()
	most := make(map[string]int)
	for i, old := range []bool{false, true} {
		c := faultCase{dir: filepath.Join(v.dir, fmt.Sprint("made", i)), old: old}
		c.run(t)
		threads := make(map[[2]string]int)
		for line := range strings.Lines(c.trace) {
			thread, rest, _ := strings.Cut(line, " ")
			call, _, ok := strings.Cut(strings.TrimSpace(rest), "(")
			if !ok {
				continue // a call that goes on, or a thread that ends
			}
			threads[[2]string{thread, call}]++
			most[call] = max(most[call], threads[[2]string{thread, call}])
		}
	}
	return most
}

// storeFiles returns the paths that a store in dir may use before it has made that many files.
func storeFiles(dir string, files int) []string {
	paths := []string{dir}
	for _, name := range []string{"LOCK", "holder", "ballast"} {
		paths = append(paths, filepath.Join(dir, name))
	}
	for n := range files {
		for _, pattern := range []string{"%06d.log", "%06d.sst", "%06d.blob", "MANIFEST-%06d", "OPTIONS-%06d", "temporary.%06d.dbtmp"} {
			paths = append(paths, filepath.Join(dir, fmt.Sprintf(pattern, n)))
		}
		if n < 20 {
			for m := range 20 {
				paths = append(paths, filepath.Join(dir, fmt.Sprintf("marker.manifest.%06d.MANIFEST-%06d", n, m)))
				paths = append(paths, filepath.Join(dir, fmt.Sprintf("marker.format-version.%06d.%03d", n, m)))
			}
		}
	}
	return paths
}

// traced returns a command that runs another one, as its own parent, with the fault in it, and writes down where it
// struck. Without a fault it writes down all calls.
func (f callFault) traced(dir, log string) []string {
	line := []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", log}
	if f.call == "" {
		line = append(line, "-e", "trace="+strings.Join(slices.Concat(usedCalls, otherCalls), ","))
	} else {
		line = append(line, "-e", "trace="+f.call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", f.call, f.errno, f.n))
	}
	for _, path := range storeFiles(dir, 60) {
		line = append(line, "-P", path)
	}
	return append(line, "--")
}

// canTrace reports whether processes can be traced here, and skips the test where they can not.
func canTrace(t *testing.T) {
	t.Helper()
	out, err := exec.Command("strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync", "-o", os.DevNull, "true").CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		t.Skip("strace is not installed; the same is tested inside of relay and its store")
	case err != nil:
		t.Skipf("processes can not be traced here: %v %s; the same is tested inside of relay and its store", err, out)
	}
}

// TestT4_SystemCallsThatFail has system calls on the store's files fail under the built binary, one kind with one error at
// a time, the n-th in each thread. The process stays up or ends cleanly, whoever sends is answered in time and never with a
// 2xx for what is not durable, and it recovers by itself once the fault is over. After a kill and a start without the fault nothing is lost.
func TestT4_SystemCallsThatFail(t *testing.T) {
	canTrace(t)
	v, mounted := newVolume(t, 512<<20)
	if !mounted {
		return
	}
	campaign := faults(max(1, *cycles/5))
	if *faultCalls > 0 {
		made := madeCalls(t, v)
		campaign = allFaults(*faultCalls, made)
		t.Logf("a thread makes at most %v; %d faults", made, len(campaign))
	}
	var ran, struck, failed, stuck, ended, acked atomic.Int64
	var hits sync.Map // how many of a call were struck
	t.Run("faults", func(t *testing.T) {
		workers := make(chan struct{}, 4)
		for i, f := range campaign {
			t.Run(f.String(), func(t *testing.T) {
				t.Parallel()
				workers <- struct{}{}
				defer func() { <-workers }()
				c := faultCase{callFault: f, dir: filepath.Join(v.dir, fmt.Sprint(i)), old: i%2 == 1}
				c.run(t)
				ran.Add(1)
				struck.Add(int64(c.struck))
				if hit, _ := hits.LoadOrStore(f.call, new(atomic.Int64)); c.struck > 0 {
					hit.(*atomic.Int64).Add(1)
				}
				failed.Add(int64(c.failed))
				stuck.Add(int64(c.stuck))
				ended.Add(int64(c.ended))
				acked.Add(int64(c.acked))
			})
		}
	})
	t.Logf("seed %d, %d faults, %d of them struck; the store failed in %d, and met the fault again and again in %d of these; "+
		"the process ended at start in %d; %d webhooks accepted",
		faultSeed, ran.Load(), struck.Load(), failed.Load(), stuck.Load(), ended.Load(), acked.Load())
	hits.Range(func(call, n any) bool {
		t.Logf("%s: %d struck", call, n.(*atomic.Int64).Load())
		return true
	})
	if ran.Load() >= 10 && struck.Load() < ran.Load()/3 {
		t.Error("too few faults struck for the campaign to mean anything")
	}
}

// faultCase is one fault and what came of it.
type faultCase struct {
	callFault
	dir string
	old bool // the store exists before

	struck, failed, stuck, ended, acked int
	trace                               string
}

func (c *faultCase) run(t *testing.T) {
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(c.dir) }()
	u := newUpstream(t)
	addr := freeAddress(t)
	s := newServer(t)
	s.store = filepath.Join(c.dir, "store")
	config := s.caddyfile(stripeSite(addr, u, "retry fixed 200ms"), "relay:min_free 4MiB")
	p := newProvider(t, "http://"+addr+"/stripe")
	if c.old {
		s.run(config, addr)
		p.sendMany(10, 2)
		s.stop()
	}
	log := filepath.Join(s.dir, "strace")
	s.wrapper = c.traced(s.store, log)
	broken := crash{from: time.Now()}
	s.start(config)
	c.load(t, s, p, addr)
	if s.running() {
		s.kill()
	}
	broken.to = time.Now()
	c.look(t, s, log)
	s.wrapper = nil
	s.start(config)
	s.awaitReady(addr)
	p.sendMany(5, 1)
	u.awaitAll(p, 30*time.Second)
	s.stop()
	closeBooks(t, s, p, u, broken)
	c.acked = p.acked()
}

// load sends for a while, and then until something is accepted again.
func (c *faultCase) load(t *testing.T, s *server, p *provider, addr string) {
	if !poll(30*time.Second, func() bool { return !s.running() || listening(addr) }) {
		t.Fatal("the process neither listens nor ends")
	}
	if s.running() {
		p.mark()
		p.tries = 3
		before := p.failed()
		stop := p.load(8, 0)
		poll(1500*time.Millisecond, func() bool { return !s.running() })
		reached := p.acked()
		recovered := poll(15*time.Second, func() bool { return p.acked() > reached || !s.running() })
		switch {
		case recovered:
		case s.logged("store could not be opened again"): // the fault waits in every new thread
			c.stuck = 1
		default:
			t.Errorf("it does not recover by itself: %v", p.seen())
		}
		if s.running() && p.failed() > before {
			t.Errorf("no answer from a process that is up: %v", p.lastFailure())
		}
		if slowest := p.slowestAnswer(); slowest > 5*time.Second {
			t.Errorf("an answer took %s", slowest)
		}
		s.kill()
		stop()
		p.tries = 1000
		return
	}
	c.ended = 1
	if code := s.awaitExit(time.Second); code != 1 || !s.logged("opening the store") {
		t.Errorf("it ended at start with the code %d", code)
	}
}

// look sees what the fault has done.
func (c *faultCase) look(t *testing.T, s *server, log string) {
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	c.trace = string(text)
	if strings.Contains(c.trace, "(INJECTED)") {
		c.struck = 1
	}
	if s.logged("store has failed") {
		c.failed = 1
	}
}
