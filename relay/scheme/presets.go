// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
)

// table holds the presets by name and by alias, and whose header is whose.
var table = sync.OnceValue(func() *index {
	t := &index{byName: make(map[string]*Scheme), byHeader: make(map[string][]*Scheme)}
	for _, family := range [][]Scheme{corePresets, standardPresets, codePresets, paymentPresets, messagePresets, workPresets} {
		for i := range family {
			t.add(&family[i])
		}
	}
	slices.Sort(t.names)
	return t
})

type index struct {
	names    []string
	byName   map[string]*Scheme
	byHeader map[string][]*Scheme // in the order of the table
}

func (t *index) add(s *Scheme) {
	s.Title, s.Secret = origins[s.Name].title, origins[s.Name].secret
	t.names = append(t.names, s.Name)
	t.byName[s.Name] = s
	for _, alias := range s.Aliases {
		t.byName[alias] = s
	}
	if name := textproto.CanonicalMIMEHeaderKey(s.Signature.Header); name != "" && name != "Authorization" {
		t.byHeader[name] = append(t.byHeader[name], s)
	}
}

// Preset returns a copy of the preset of that name or alias.
func Preset(name string) (*Scheme, bool) {
	s, ok := table().byName[name]
	if !ok {
		return nil, false
	}
	return s.Clone(), true
}

// Names lists the presets by name, sorted, without their aliases.
func Names() []string { return slices.Clone(table().names) }

// Recognize tells by its headers which preset a request looks like: the one
// whose signature header is there and most of whose other headers are. Both
// results are empty if none or several fit equally, unless one of those is
// among the best known.
func Recognize(h http.Header) (header, name string) {
	best := 0
	for candidate := range h {
		for i, s := range table().byHeader[candidate] {
			score := 2*s.headersIn(h) + 1
			switch {
			case score > best, score == best && candidate < header:
				header, name, best = candidate, s.Name, score
			case score == best && candidate == header && i == 1 && !isCore(name):
				name = ""
			}
		}
	}
	if name == "" {
		return "", ""
	}
	return header, name
}

// headersIn counts the headers of event id and type that are in h.
func (s *Scheme) headersIn(h http.Header) int {
	n := 0
	for _, text := range slices.Concat(s.EventID, s.Type) {
		if name, ok := strings.CutPrefix(text, "{http.request.header."); ok && h.Get(strings.TrimSuffix(name, "}")) != "" {
			n++
		}
	}
	return n
}

func isCore(name string) bool {
	return slices.ContainsFunc(corePresets, func(s Scheme) bool { return s.Name == name })
}

// Suggest returns the name or alias nearest to a mistyped one, "" if none is near.
func Suggest(name string) string {
	name = strings.ToLower(name)
	plain := strings.NewReplacer("-", "", "_", "", ".", "", " ", "")
	if len(name) < 2 {
		return ""
	}
	best, distance := "", 1+max(1, len(name)/4)
	known := make([]string, 0, len(table().byName))
	for candidate := range table().byName {
		known = append(known, candidate)
	}
	slices.Sort(known)
	for _, candidate := range known {
		if d := edits(plain.Replace(name), plain.Replace(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// edits is the Levenshtein distance, a swap of neighbours counting as one.
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
