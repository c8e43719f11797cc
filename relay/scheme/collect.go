// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"encoding/json"
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// candidate is a signature as the request carries it, not yet decoded.
type candidate struct {
	tag  string // version, or key id of a pair
	text string
}

// collector finds the signatures of a request.
type collector struct {
	Signature
	headers []string // canonical names
	fields  []string // names of elements that a template uses
}

func newCollector(s Signature, used []string) *collector {
	c := &collector{Signature: s, fields: used}
	c.Separator = s.separator()
	if s.Header == "" {
		return c
	}
	if s.Numbered {
		for i := range maxNumbered {
			c.headers = append(c.headers, textproto.CanonicalMIMEHeaderKey(s.Header+strconv.Itoa(i+1)))
		}
		return c
	}
	for _, name := range append([]string{s.Header}, s.More...) {
		c.headers = append(c.headers, textproto.CanonicalMIMEHeaderKey(name))
	}
	return c
}

// place names where the signature is, for people.
func (c *collector) place() string {
	switch {
	case c.Numbered:
		return c.Header + "1"
	case c.Header != "":
		return c.Header
	case c.Body != "":
		return "body value " + c.Body
	case c.Form != "":
		return "form field " + c.Form
	case c.Whole:
		return "token in the body"
	default:
		return "query parameter " + c.Query
	}
}

// present reports whether the request carries any signature in this place.
func (c *collector) present(r *Request) bool {
	for _, name := range c.headers {
		for _, line := range r.Header[name] {
			if line != "" {
				return true
			}
		}
	}
	if len(c.headers) > 0 {
		return false
	}
	value, ok := c.value(r)
	return ok && value != ""
}

// carries reports whether a signature in a header is written as it is expected:
// several forms may share one header, and differ in the prefix or the tag.
func (c *collector) carries(r *Request) bool {
	begins := c.Prefix
	if c.Format == KeyValue {
		begins = c.Tag + "="
	}
	if begins == "" || len(c.headers) == 0 || c.Groups || c.Format != KeyValue && c.Format != Plain && c.Format != "" {
		return true
	}
	for _, name := range c.headers {
		for _, line := range r.Header[name] {
			if c.Format != KeyValue {
				if strings.HasPrefix(line, begins) {
					return true
				}
				continue
			}
			for more := true; more; {
				var element string
				element, line, more = cut(line, c.Separator)
				if strings.HasPrefix(strings.TrimLeft(element, " "), begins) {
					return true
				}
			}
		}
	}
	return false
}

// value returns a signature that is not in a header.
func (c *collector) value(r *Request) (string, bool) {
	switch {
	case c.Body != "":
		query, ok := bodyQuery(c.Body)
		if !ok {
			return "", false
		}
		return query.find(r.Body)
	case c.Form != "":
		return parameter(borrow(r.Body), c.Form)
	case c.Whole:
		return strings.TrimSpace(borrow(r.Body)), true
	default:
		return parameter(r.rawQuery(), c.Query)
	}
}

// groups splits a value that is several with spaces between.
func (c *collector) groups(r *Request) []string {
	if !c.Groups {
		return nil
	}
	value, _ := r.header(c.headers[0])
	return strings.Fields(value)
}

// collect puts the signatures and fields of the request into s. It returns
// what was malformed, or "".
func (c *collector) collect(r *Request, s *scratch) string {
	if len(c.headers) == 0 {
		value, _ := c.value(r)
		if note := c.divide(value, s); note != "" {
			return note
		}
	}
	for _, name := range c.headers {
		lines := r.Header[name]
		if len(lines) > 1 && !c.Lines {
			return fmt.Sprintf("%d lines of %s, expected one", len(lines), name)
		}
		for _, line := range lines {
			if len(line) > maxHeader {
				return fmt.Sprintf("%s is %d B long, limit %d", name, len(line), maxHeader)
			}
			if note := c.divide(line, s); note != "" {
				return note
			}
		}
	}
	if len(s.found) == 0 {
		return c.place() + " holds no signature of the expected form"
	}
	return ""
}

// divide takes one value apart.
func (c *collector) divide(value string, s *scratch) string {
	if value == "" {
		return ""
	}
	switch c.Format {
	case KeyValue:
		if len(c.Separator) == 1 && !c.Spaces && !c.Quoted {
			return c.divideFields(value, s)
		}
		return c.divideList(value, s)
	case Tagged, List, Positional, Pairs:
		return c.divideList(value, s)
	case Base64JSON:
		return c.divideJSON(value, s)
	case Detached:
		return c.divideDetached(value, s)
	default:
		return c.add(s, "", value)
	}
}

// divideFields is divideList for the commonest of all lists, in one go.
func (c *collector) divideFields(value string, s *scratch) string {
	separator := c.Separator[0]
	for {
		equals := 0
		for equals < len(value) && value[equals] != '=' && value[equals] != separator {
			equals++
		}
		if equals == len(value) || value[equals] == separator {
			return c.place() + " has an element without ="
		}
		name, text := value[:equals], value[equals+1:]
		end := strings.IndexByte(text, separator)
		if end >= 0 {
			value, text = text[end+1:], text[:end]
		}
		if note := c.take(name, text, s); note != "" || end < 0 {
			return note
		}
	}
}

func (c *collector) divideList(value string, s *scratch) string {
	for i := 0; ; i++ {
		element, rest, more := cut(value, c.Separator)
		if c.Spaces {
			element = strings.TrimSpace(element)
		}
		if note := c.element(i, element, s); note != "" {
			return note
		}
		if !more {
			return ""
		}
		value = rest
	}
}

// divideJSON takes a JSON object apart that is written in base64.
func (c *collector) divideJSON(value string, s *scratch) string {
	text, ok := Base64.decode(nil, value, 0)
	var object map[string]any
	if !ok || json.Unmarshal(text, &object) != nil {
		return c.place() + " is not base64 of a JSON object"
	}
	for name, v := range object {
		element, ok := v.(string)
		if !ok {
			continue
		}
		if note := c.take(name, element, s); note != "" {
			return note
		}
	}
	return ""
}

// divideDetached takes a signature apart whose payload is elsewhere. What its
// header says of the algorithm does not matter: the key decides.
func (c *collector) divideDetached(value string, s *scratch) string {
	parts := strings.Split(value, ".")
	if len(parts) != 3 || parts[1] != "" {
		return c.place() + " is no signature without its payload"
	}
	if note := c.addField(s, c.Field, parts[0]); note != "" {
		return note
	}
	return c.add(s, "", parts[2])
}

// cut is strings.Cut, the faster way for one byte.
func cut(value, separator string) (before, after string, found bool) {
	if len(separator) != 1 {
		return strings.Cut(value, separator)
	}
	i := strings.IndexByte(value, separator[0])
	if i < 0 {
		return value, "", false
	}
	return value[:i], value[i+1:], true
}

func (s *Signature) separator() string {
	switch {
	case s.Separator != "":
		return s.Separator
	case s.Format == Tagged:
		return " "
	case s.Format == Pairs:
		return "&"
	default:
		return ","
	}
}

// element takes the i-th element of a list.
func (c *collector) element(i int, element string, s *scratch) string {
	switch c.Format {
	case KeyValue:
		return c.field(element, s)
	case Tagged:
		tag, value, ok := strings.Cut(element, ",")
		if !ok {
			return ""
		}
		return c.add(s, tag, value)
	case Pairs:
		id, value, ok := strings.Cut(element, "|")
		if !ok {
			return ""
		}
		return c.add(s, id, value)
	case Positional:
		if i == 0 {
			return c.addField(s, c.Field, element)
		}
	}
	return c.add(s, "", element)
}

// field takes an element `name=value`. The name is searched byte by byte: it
// is one or two letters long.
func (c *collector) field(element string, s *scratch) string {
	equals := 0
	for equals < len(element) && element[equals] != '=' {
		equals++
	}
	if equals == len(element) {
		return fmt.Sprintf("%s has an element without =", c.place())
	}
	name, value := element[:equals], element[equals+1:]
	if c.Quoted {
		value = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
	}
	return c.take(name, value, s)
}

// take keeps what is a signature by its name, or a field that is needed.
func (c *collector) take(name, value string, s *scratch) string {
	if name == c.Tag {
		return c.add(s, "", value)
	}
	return c.addField(s, name, value)
}

func (c *collector) addField(s *scratch, name, value string) string {
	if !slices.Contains(c.fields, name) {
		return ""
	}
	if _, twice := fieldValue(s.fields, name); twice {
		return fmt.Sprintf("%s has %s twice", c.place(), name)
	}
	s.fields = append(s.fields, field{name, value})
	return ""
}

// add keeps one signature. One without the prefix is skipped.
func (c *collector) add(s *scratch, tag, text string) string {
	text, ok := strings.CutPrefix(text, c.Prefix)
	if !ok {
		return ""
	}
	limit := maxSignatures
	if c.Numbered {
		limit = maxNumbered
	}
	if len(s.found) == limit {
		return fmt.Sprintf("%s lists more than %d signatures", c.place(), limit)
	}
	s.found = append(s.found, candidate{tag, text})
	return ""
}
