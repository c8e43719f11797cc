// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	oldSecret = "whsec_old_0123456789abcdef"
	newSecret = "whsec_newer_0123456789abcdef" // of another length: the clocks of some file systems are coarse
)

// secretFile is a file with a secret that a test changes.
type secretFile struct {
	t    *testing.T
	path string
}

func newSecretFile(t *testing.T, text string) *secretFile {
	f := &secretFile{t, filepath.Join(t.TempDir(), "secret")}
	f.write(text)
	return f
}

// write replaces the content in place, as an editor may.
func (f *secretFile) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// ticks lets the watcher of a configuration look as often, at a time after now.
func ticks(r *running, n int, after time.Duration) {
	for range n {
		r.app.watcher.tick(time.Now().Add(after))
	}
}

// statusOf is what a request gets that is signed with a secret.
func statusOf(t *testing.T, h *Handler, secret string) int {
	t.Helper()
	const body = `{"type":"x"}`
	return serve(t, h, stripe(post("/in", body), body, secret, time.Now())).Code
}

func TestSecretInAFileIsSwappedWithoutAReload(t *testing.T) {
	f := newSecretFile(t, oldSecret+"\n")
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify stripe {file."+f.path+"}")
	if statusOf(t, h, oldSecret) != 200 || statusOf(t, h, newSecret) != 401 {
		t.Fatal("the secret in the file does not verify")
	}
	f.write(newSecret + "\n")
	ticks(r, 1, 0)
	if statusOf(t, h, newSecret) != 401 {
		t.Error("a file that may still be written is taken at once")
	}
	ticks(r, 1, 0)
	if statusOf(t, h, newSecret) != 200 {
		t.Error("the new secret does not verify")
	}
	if statusOf(t, h, oldSecret) != 200 {
		t.Error("the former secret has no overlap")
	}
	ticks(r, 1, defaultOverlap-time.Minute)
	if statusOf(t, h, oldSecret) != 200 {
		t.Error("the overlap ended early")
	}
	ticks(r, 1, defaultOverlap+time.Minute)
	if statusOf(t, h, oldSecret) != 401 || statusOf(t, h, newSecret) != 200 {
		t.Error("the former secret outlives its overlap")
	}
	if !logged("changed secret is in force") || logged(newSecret) || logged(oldSecret) {
		t.Error("the change is not logged, or a secret is")
	}
}

func TestOverlapCanBeTurnedOff(t *testing.T) {
	f := newSecretFile(t, oldSecret)
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify stripe {file."+f.path+"} {\n overlap off\n}")
	f.write(newSecret)
	ticks(r, 2, 0)
	if statusOf(t, h, oldSecret) != 401 || statusOf(t, h, newSecret) != 200 {
		t.Error("the former secret still verifies")
	}
}

func TestOverlapGoesOnOverAReload(t *testing.T) {
	f := newSecretFile(t, oldSecret)
	block := "verify stripe {file." + f.path + "}"
	_, r := relayBlock(t, newUpstream(t, nil), "memory", block)
	f.write(newSecret)
	ticks(r, 2, 0)
	reloaded, rr := relayBlock(t, newUpstream(t, nil), "memory", block)
	r.stop()
	if statusOf(t, reloaded, oldSecret) != 200 || statusOf(t, reloaded, newSecret) != 200 {
		t.Error("the reload has cut the overlap off")
	}
	ticks(rr, 1, defaultOverlap+time.Minute)
	if statusOf(t, reloaded, oldSecret) != 401 {
		t.Error("the reload has begun the overlap anew")
	}
	rr.stop()
	if n, known := watchedSecrets.References("{file." + f.path + "}"); known {
		t.Errorf("%d still follow the file", n)
	}
}

func TestReloadReadsTheFileAtOnce(t *testing.T) {
	f := newSecretFile(t, oldSecret)
	block := "verify stripe {file." + f.path + "}"
	relayBlock(t, newUpstream(t, nil), "memory", block)
	f.write(newSecret)
	h, _ := relayBlock(t, newUpstream(t, nil), "memory", block)
	if statusOf(t, h, newSecret) != 200 || statusOf(t, h, oldSecret) != 200 {
		t.Error("the reload has not read the file, or forgot the former secret")
	}
}

func TestFileThatBecomesUselessLeavesTheSecret(t *testing.T) {
	f := newSecretFile(t, oldSecret)
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify stripe {file."+f.path+"}")
	f.write("")
	ticks(r, 5, 0)
	if statusOf(t, h, oldSecret) != 200 {
		t.Error("an empty file takes the secret away")
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	ticks(r, 5, 0)
	if statusOf(t, h, oldSecret) != 200 {
		t.Error("a missing file takes the secret away")
	}
	if err := os.Mkdir(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	ticks(r, 5, 0)
	if statusOf(t, h, oldSecret) != 200 || logged("placeholder: failed to read file") {
		t.Error("a directory takes the secret away, or fills the log at each look")
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if n := logs().FilterMessageSnippet("secret can not be read any more").Len(); n != 1 {
		t.Errorf("said %d times", n)
	}
	f.write(newSecret)
	ticks(r, 2, 0)
	if statusOf(t, h, newSecret) != 200 {
		t.Error("the file is not taken when it is back")
	}
}

func TestFileWhoseSecretIsUnusableLeavesTheOneBefore(t *testing.T) {
	const good = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
	f := newSecretFile(t, good)
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify standard_webhooks {file."+f.path+"}")
	before := h.bindings[0].verifier()
	f.write("whsec_!!!")
	ticks(r, 4, 0)
	if h.bindings[0].verifier() != before {
		t.Error("an unusable secret has changed what verifies")
	}
	if n := logs().FilterMessageSnippet("changed secret can not be used").Len(); n != 1 || logged("whsec_!!!") {
		t.Errorf("said %d times", n)
	}
}

// Kubernetes turns a link to a directory, so that the file's own name and link
// stay as they are.
func TestSecretVolumeOfKubernetesIsFollowed(t *testing.T) {
	dir := t.TempDir()
	const next = "whsec_NEW_0123456789abcdef" // as long as the other: only the inode differs
	for name, text := range map[string]string{"..1": oldSecret, "..2": next} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "stripe"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1750000000, 0) // the same for both, as tools that build images do
		if err := os.Chtimes(filepath.Join(dir, name, "stripe"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range [][2]string{{"..1", "..data"}, {"..data/stripe", "stripe"}} {
		if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify stripe {file."+filepath.Join(dir, "stripe")+"}")
	if err := os.Symlink("..2", filepath.Join(dir, "..tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	ticks(r, 2, 0)
	if statusOf(t, h, next) != 200 || statusOf(t, h, oldSecret) != 200 {
		t.Error("the new volume is not read, or the former secret has no overlap")
	}
}

func TestWatcherLooksAtEachTickUntilItIsStopped(t *testing.T) {
	f := newSecretFile(t, oldSecret)
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify stripe {file."+f.path+"}")
	if r.app.watcher.cancel == nil {
		t.Fatal("nothing watches")
	}
	clock := make(chan time.Time)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.app.watcher.run(t.Context(), clock)
	}()
	f.write(newSecret)
	for range 3 { // the third is taken when the second has been
		clock <- time.Now()
	}
	if statusOf(t, h, newSecret) != 200 {
		t.Error("the ticks have not been looked at")
	}
	r.stop()
	r.app.watcher.stop() // again
	t.Cleanup(func() { <-done })
}

func TestConfigurationWithoutFilesIsNotWatched(t *testing.T) {
	_, r := relayBlock(t, newUpstream(t, nil), "memory", "verify stripe "+stripeSecret)
	if r.app.watcher.cancel != nil {
		t.Error("a goroutine watches nothing")
	}
}

func TestSecretsAreCountedByTheirNumber(t *testing.T) {
	f := newSecretFile(t, oldSecret)
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify stripe "+stripeSecret+" {file."+f.path+"}")
	f.write(newSecret)
	ticks(r, 2, 0)
	for secret, label := range map[string]string{stripeSecret: "1", newSecret: "2", oldSecret: "2_former"} {
		c := metrics.matches.WithLabelValues("in", "stripe", label)
		before := counted(c)
		if statusOf(t, h, secret) != 200 || counted(c) != before+1 {
			t.Errorf("secret %s counted %g times", label, counted(c)-before)
		}
	}
}

func TestConfigurationCanBeCheckedWithoutItsSecrets(t *testing.T) {
	t.Setenv("RELAY_UNSET", "")
	const block = "verify stripe {env.RELAY_UNSET} {file./does/not/exist}\n public_url https://hooks.example.com"
	text := memoryOptions + ":0 {\n\trelay /in a:1 {\n" + block + "\n}\n}\n"
	if _, err := provision(t, text); err == nil || !strings.Contains(err.Error(), "{env.RELAY_UNSET} is empty") {
		t.Fatalf("without the switch: %v", err)
	}
	t.Setenv(withoutSecretsVariable, "1")
	r := start(t, text)
	if n := logs().FilterMessageSnippet("secret is not there").Len(); n != 2 {
		t.Errorf("%d warnings", n)
	}
	w := serve(t, r.relay["in"], signed("/in", "{}"))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d %v", w.Code, w.Header())
	}
	r = start(t, memoryOptions+":0 {\n\trelay /in a:1 {\n\t\tverify stripe "+stripeSecret+"\n\t\tresign standard_webhooks {$RELAY_UNSET_TOO}\n\t}\n}\n")
	if w := serve(t, r.relay["in"], signed("/in", "{}")); w.Code != 503 {
		t.Errorf("without the secret of resign: answered %d", w.Code)
	}
	for _, mistake := range []string{"verify standard_webhooks whsec_!!!", "verify hmac {env.RELAY_UNSET} {\n header X\n encoding base32\n}", "verify stripe {env.RELAY_UNSET}\n respond 500"} {
		if err := tryLoad(t, memoryOptions+":0 {\n\trelay /in a:1 {\n"+mistake+"\n}\n}\n"); err == nil {
			t.Errorf("%s: taken", mistake)
		}
	}
}
