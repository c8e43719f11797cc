// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxNetworks is how many networks of senders wait for a host at once.
	maxNetworks = 64
	// maxWaiting is how many keys of one network wait at once.
	maxWaiting = 16
)

// keyHost is what is known of a host that publishes keys.
type keyHost struct {
	asked   time.Time            // for a key that was not known
	failure error                // how that ended, nil for an answer
	renewed time.Time            // a key that was
	unknown map[string]time.Time // what it does not have, and when it said so
	waiting keyQueue
}

// lacks notes that the host does not have what was asked for.
func (h *keyHost) lacks(q keyQuestion, at time.Time) {
	for name, since := range h.unknown {
		if at.Sub(since) >= unknownLifetime {
			delete(h.unknown, name)
		}
	}
	h.unknown[q.unknown()] = at
}

// keyQueue holds the questions that wait for their turn. Networks take turns, so that a flood of bogus names from one
// delays the others by one turn, whatever its size; within a network what is asked for most often is first.
type keyQueue struct{ networks []*network }

// network is where senders come from, with what they want.
type network struct {
	name  string
	wants []*want
}

// want is a question and how often it has come.
type want struct {
	question keyQuestion
	times    int
}

// add lets a question wait. Where there is no room it takes the place of the one that has come least often: it will
// come again.
func (k *keyQueue) add(q keyQuestion) {
	i := slices.IndexFunc(k.networks, func(n *network) bool { return n.name == q.from })
	if i < 0 {
		if len(k.networks) < maxNetworks {
			k.networks = append(k.networks, &network{name: q.from, wants: []*want{{q, 1}}})
		}
		return
	}
	n := k.networks[i]
	for _, w := range n.wants {
		if w.question.unknown() == q.unknown() {
			w.question = q
			w.times++
			return
		}
	}
	if len(n.wants) < maxWaiting {
		n.wants = append(n.wants, &want{q, 1})
		return
	}
	least := slices.MinFunc(n.wants, func(a, b *want) int { return a.times - b.times })
	least.question, least.times = q, 1
}

// next takes the question whose turn it is. A network that wants more goes to the end.
func (k *keyQueue) next() (keyQuestion, bool) {
	if len(k.networks) == 0 {
		return keyQuestion{}, false
	}
	n := k.networks[0]
	k.networks = k.networks[1:]
	most := 0
	for i, w := range n.wants {
		if w.times > n.wants[most].times {
			most = i
		}
	}
	q := n.wants[most].question
	if n.wants = slices.Delete(n.wants, most, most+1); len(n.wants) > 0 {
		k.networks = append(k.networks, n)
	}
	return q, true
}

// take removes and returns all questions for one document.
func (k *keyQueue) take(name string) []keyQuestion {
	var taken []keyQuestion
	for _, n := range k.networks {
		n.wants = slices.DeleteFunc(n.wants, func(w *want) bool {
			if w.question.name == name {
				taken = append(taken, w.question)
			}
			return w.question.name == name
		})
	}
	k.networks = slices.DeleteFunc(k.networks, func(n *network) bool { return len(n.wants) == 0 })
	return taken
}

// networkOf is what addresses are taken together as: one customer's usual share of them.
func networkOf(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	ip = ip.Unmap()
	bits := 24
	if ip.Is6() {
		bits = 48
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
