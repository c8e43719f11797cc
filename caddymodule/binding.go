// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-relay/caddy-relay/relay/scheme"
)

// errSecretAbsent is why a configuration that was checked without its secrets
// refuses everything.
var errSecretAbsent = errors.New("a secret is not there, which " + withoutSecretsVariable + " permits: nothing can be verified")

// binding is a scheme with the secrets that it has now. They change while it is in
// use: files do, and handshakes bring some.
type binding struct {
	scheme *scheme.Scheme
	config *Secrets
	source string
	log    *zap.Logger
	engine *pooledEngine
	fetch  *fetcher

	secrets []*secretText // what verifies
	keys    []*secretText // what takes the place of fetched keys
	token   *secretText   // nil where none is configured
	absent  bool          // a secret is not there, and need not be

	// clock watches over the times that are signed.
	clock *clockWatch

	// fresh is how old a signature may be when an app checks it again, 0 where
	// that does not matter.
	fresh time.Duration

	mu      sync.Mutex // held while it is bound anew
	current atomic.Pointer[bound]
	tried   stamp // of the last attempt to bind
}

// bound is a verifier with what it was made of.
type bound struct {
	verifier *scheme.Verifier
	matches  []prometheus.Counter // by index of the secret
	stamp
}

// stamp tells whether secrets have changed.
type stamp struct {
	files   uint64    // the sum of the versions of all files
	learned uint64    // the version of the learned secrets
	until   time.Time // when the next former secret ends, zero if none does
}

// bind makes a scheme ready for use. word is the option that it stands behind. A
// binding that is returned must be released.
func bind(app *App, source, word string, module SchemeModule, adjust func(*scheme.Scheme), log *zap.Logger) (*binding, error) {
	described, err := module.Describe()
	if err != nil {
		return nil, err
	}
	config := module.Credentials()
	b := &binding{scheme: described, config: config, source: source, engine: app.engine, fetch: app.fetcher}
	b.clock = app.engine.clocks.of(source, described.Name)
	b.log = log.With(zap.String("scheme", described.Name), zap.String("origin", config.Origin))
	b.fresh = config.tolerate(described)
	if adjust != nil {
		adjust(described)
	}
	if err := b.provision(); err != nil {
		b.release()
		return nil, fmt.Errorf("%s %s: %w%s", word, described.Name, err, at(config.Origin))
	}
	app.watcher.add(b)
	return b, nil
}

// provision resolves the secrets and binds the scheme to them.
func (b *binding) provision() error {
	if err := b.config.check(b.scheme); err != nil {
		return err
	}
	if err := b.scheme.Validate(); err != nil {
		return err
	}
	now := time.Now()
	var err error
	if b.secrets, err = b.resolve(now, b.config.Texts, "secret"); err != nil {
		return err
	}
	if b.keys, err = b.resolve(now, b.config.Keys, "key"); err != nil {
		return err
	}
	if b.config.Token != "" {
		tokens, err := b.resolve(now, []string{b.config.Token}, "token")
		if err != nil {
			return err
		}
		b.token = tokens[0]
	}
	b.warn()
	if b.absent {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rebind(now)
}

// resolve resolves a list of secrets. In a configuration that is only checked
// those that are not there may be absent.
func (b *binding) resolve(now time.Time, texts []string, what string) ([]*secretText, error) {
	var resolved []*secretText
	for i, text := range texts {
		t, err := newSecretText(text, now)
		switch {
		case err == nil:
			resolved = append(resolved, t)
		case withoutSecrets():
			b.absent = true
			resolved = append(resolved, &secretText{text: text})
			b.log.Warn(what+" is not there; until it is, this relay answers 503", zap.Int(what, i+1), zap.Error(err))
		default:
			for _, t := range resolved {
				t.release()
			}
			return nil, err
		}
	}
	return resolved, nil
}

// warn tells of secrets that are not safe, and of what a handshake lacks.
func (b *binding) warn() {
	for i, t := range b.secrets {
		if t.text != "" && inline(t.text) {
			b.log.Warn("secret is written out in the configuration, where /config and autosave.json show it; use {env.NAME} or {file./absolute/path}", zap.Int("secret", i+1))
		}
		if current, _, _, _ := t.values(time.Time{}, 0); !b.absent && len(current.bytes) < weakSecret {
			b.log.Warn("secret is shorter than 16 bytes and can be guessed", zap.Int("secret", i+1))
		}
	}
	if b.scheme.NeedsToken() && b.config.Token == "" {
		b.log.Warn("the provider's handshake can not be answered without the verify token that was typed there; give it with token")
	}
}

// release gives back what watches over files.
func (b *binding) release() {
	for _, t := range b.texts() {
		t.release()
	}
}

// texts lists everything that can change with a file.
func (b *binding) texts() []*secretText {
	all := slices.Concat(b.secrets, b.keys)
	if b.token != nil {
		all = append(all, b.token)
	}
	return all
}

// changes reports whether a file, or a provider with other keys, can change
// anything.
func (b *binding) changes() bool {
	return b.scheme.FetchesKeys() || slices.ContainsFunc(b.texts(), func(t *secretText) bool { return t.file != nil })
}

// verifier returns the verifier of now, nil while a secret is absent.
func (b *binding) verifier() *scheme.Verifier {
	if current := b.current.Load(); current != nil {
		return current.verifier
	}
	return nil
}

// matched counts which secret has verified a request, so that a rotation can be
// brought to its end.
func (b *binding) matched(verdict scheme.Verdict) {
	if current := b.current.Load(); current != nil && verdict.Secret < len(current.matches) {
		current.matches[verdict.Secret].Inc()
	}
}

// prepare makes the learned secrets known that a handshake has brought. It asks
// the store only the first time.
func (b *binding) prepare(ctx context.Context) error {
	ids := b.learnedIDs()
	if len(ids) == 0 || b.absent {
		return nil
	}
	if err := b.engine.learned.load(ctx, b.engine.Engine, ids); err != nil {
		return err
	}
	b.refresh(time.Now())
	return nil
}

// learnedIDs are the ids of the secrets that handshakes are to bring.
func (b *binding) learnedIDs() []string {
	ids := make([]string, 0, len(b.config.Expected))
	for _, name := range b.config.Expected {
		ids = append(ids, learnedID(b.source, b.scheme.Name, name))
	}
	return ids
}

// learn keeps the secret of a handshake while one is expected, and reports
// whether it is kept. A provider may ask with the same one again.
func (b *binding) learn(ctx context.Context, value []byte) (bool, error) {
	taken, err := b.engine.learned.take(ctx, b.engine.Engine, b.learnedIDs(), value)
	if err != nil {
		return false, err
	}
	b.refresh(time.Now())
	return taken, nil
}

// refresh binds the scheme anew where its secrets have changed. Ones that can not
// be used leave the former in force.
func (b *binding) refresh(now time.Time) {
	if b.absent {
		return
	}
	if current := b.current.Load(); current != nil && !b.outdated(current.stamp, now) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.outdated(b.tried, now) {
		return
	}
	files := b.tried.files
	err := b.rebind(now)
	switch {
	case err != nil:
		b.log.Error("changed secret can not be used; the one before stays in force", zap.Error(err))
	case files != b.tried.files:
		b.log.Info("changed secret is in force", zap.Duration("overlap", b.config.overlap()))
	}
}

// outdated reports whether secrets have changed since.
func (b *binding) outdated(s stamp, now time.Time) bool {
	return s.files != b.fileVersions() || s.learned != b.learnedVersion() || !s.until.IsZero() && !now.Before(s.until)
}

func (b *binding) fileVersions() uint64 {
	var sum uint64
	for _, t := range b.texts() {
		_, _, _, version := t.values(time.Time{}, 0)
		sum += version
	}
	return sum
}

func (b *binding) learnedVersion() uint64 {
	if len(b.config.Expected) == 0 {
		return 0
	}
	return b.engine.learned.version.Load()
}

// rebind compiles the scheme with the secrets of now. The caller holds the lock.
func (b *binding) rebind(now time.Time) error {
	// Noted first, a change while this goes on is seen the next time.
	s := stamp{files: b.fileVersions(), learned: b.learnedVersion()}
	list := b.collect(now)
	s.until = list.until
	b.tried = s
	options := scheme.Options{Keys: b.fetch.keys, Expecting: len(b.config.Expected) > 0}
	if b.token != nil {
		current, _, _, _ := b.token.values(now, 0)
		options.Token = current.bytes
	}
	v, err := b.scheme.CompileWith(list.secrets, options)
	if err != nil {
		return err
	}
	next := &bound{verifier: v, stamp: s}
	for _, label := range list.labels {
		next.matches = append(next.matches, metrics.matches.WithLabelValues(b.source, b.scheme.Name, label))
	}
	b.current.Store(next)
	return nil
}

// secretList is what a scheme is compiled with.
type secretList struct {
	secrets [][]byte
	labels  []string // of the metric, by index
	until   time.Time
}

func (l *secretList) add(value []byte, label string) {
	if slices.ContainsFunc(l.secrets, func(other []byte) bool { return string(other) == string(value) }) {
		return
	}
	l.secrets, l.labels = append(l.secrets, value), append(l.labels, label)
}

// collect lists the secrets of now: those of the configuration in its order, of
// which the first signs, then those that handshakes have brought, then former
// ones.
func (b *binding) collect(now time.Time) secretList {
	var list, former secretList
	for i, t := range b.secrets {
		number := strconv.Itoa(i + 1)
		current, old, until, _ := t.values(now, b.config.overlap())
		list.add(current.bytes, number)
		for _, s := range old {
			former.add(s.bytes, number+"_former")
		}
		if !until.IsZero() && (list.until.IsZero() || until.Before(list.until)) {
			list.until = until
		}
	}
	for _, id := range b.learnedIDs() {
		if value, _ := b.engine.learned.get(id); value != nil {
			list.add(value, "learned")
		}
	}
	for i, value := range former.secrets {
		list.add(value, former.labels[i])
	}
	for i, t := range b.keys {
		current, _, _, _ := t.values(now, 0)
		for _, block := range pemBlocks(current.bytes) {
			list.add(block, "key_"+strconv.Itoa(i+1))
		}
	}
	return list
}
