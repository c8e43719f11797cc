// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// maxParameters is how many parameters a form or query may have.
const maxParameters = 1000

// parameters decodes url-encoded text into names and values, in order.
func parameters(encoded string) (map[string][]string, *Failure) {
	if strings.Count(encoded, "&") >= maxParameters {
		return nil, &Failure{Reason: ErrMalformed, note: "too many parameters in the form or query"}
	}
	values := make(map[string][]string)
	for encoded != "" {
		var pair string
		pair, encoded, _ = strings.Cut(encoded, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, &Failure{Reason: ErrMalformed, note: "the form or query can not be decoded"}
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, &Failure{Reason: ErrMalformed, note: "the form or query can not be decoded"}
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

// sortedNames lists the names of parameters in order of their bytes.
func sortedNames(values map[string][]string) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// twilioTexts signs the URL and the sorted parameters of a form, each value of
// a name once; of other bodies the URL, which then holds the body's hash. That
// alone tells them apart, as the content type is not signed. The port may be in
// the URL or not.
func twilioTexts(r *Request, _ *Fields) ([][]byte, *Failure) {
	suffix := ""
	if hash, ok := parameter(r.rawQuery(), "bodySHA256"); ok {
		sum := sha256.Sum256(r.Body)
		if subtle.ConstantTimeCompare([]byte(strings.ToLower(hash)), []byte(hex.EncodeToString(sum[:]))) != 1 {
			return nil, &Failure{Reason: ErrMismatch, note: "bodySHA256 is not the hash of the body"}
		}
	} else {
		values, failure := parameters(borrow(r.Body))
		if failure != nil {
			return nil, failure
		}
		var b strings.Builder
		for _, name := range sortedNames(values) {
			list := slices.Clone(values[name])
			slices.Sort(list)
			for _, value := range slices.Compact(list) {
				b.WriteString(name)
				b.WriteString(value)
			}
		}
		suffix = b.String()
	}
	var texts [][]byte
	for _, address := range withAndWithoutPort(r.URL) {
		texts = append(texts, []byte(address+suffix))
	}
	return texts, nil
}

// withAndWithoutPort gives the URL as it is and with its default port put in,
// or any port taken out.
func withAndWithoutPort(address string) []string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return []string{address}
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, tail := rest[:end], rest[end:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return []string{address, scheme + "://" + host[:i] + tail}
	}
	port := ":443"
	if scheme == "http" {
		port = ":80"
	}
	return []string{address, scheme + "://" + host + port + tail}
}

// mandrillTexts signs the URL and the sorted parameters of the form.
func mandrillTexts(r *Request, _ *Fields) ([][]byte, *Failure) {
	values, failure := parameters(borrow(r.Body))
	if failure != nil {
		return nil, failure
	}
	text := []byte(r.URL)
	for _, name := range sortedNames(values) {
		for _, value := range values[name] {
			text = append(append(text, name...), value...)
		}
	}
	return [][]byte{text}, nil
}

// plivoTexts signs the URL with its parameters sorted, those of a form behind
// it, and a nonce.
func plivoTexts(r *Request, _ *Fields) ([][]byte, *Failure) {
	nonce, lines := r.header("X-Plivo-Signature-V3-Nonce")
	if lines != 1 {
		return nil, lacking(&part{kind: headerPart, name: "X-Plivo-Signature-V3-Nonce"}, r)
	}
	query, failure := parameters(r.rawQuery())
	if failure != nil {
		return nil, failure
	}
	// Whatever its media type says, the body is a form: no other is signed.
	posted, failure := parameters(borrow(r.Body))
	if failure != nil {
		return nil, failure
	}
	if r.Method == "GET" {
		maps.Copy(query, posted)
		posted = nil
	}
	text := r.baseURL()
	if len(query) > 0 || len(posted) > 0 {
		text += "?" + joinSorted(query, "=", "&")
	}
	if len(query) > 0 && len(posted) > 0 {
		text += "."
	}
	return [][]byte{[]byte(text + joinSorted(posted, "", "") + "." + nonce)}, nil
}

// joinSorted joins names and values, both in order.
func joinSorted(values map[string][]string, equals, separator string) string {
	var elements []string
	for _, name := range sortedNames(values) {
		list := slices.Clone(values[name])
		slices.Sort(list)
		for _, value := range list {
			elements = append(elements, name+equals+value)
		}
	}
	return strings.Join(elements, separator)
}

// messagebirdTexts signs the time, the sorted query and the digest of the body.
func messagebirdTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	query, failure := parameters(r.rawQuery())
	if failure != nil {
		return nil, failure
	}
	sum := sha256.Sum256(r.Body)
	text := []byte(f.timestamp + "\n" + url.Values(query).Encode() + "\n")
	return [][]byte{append(text, sum[:]...)}, nil
}

// alipayTexts signs the sorted parameters but the signature; the older form
// leaves out its type as well.
func alipayTexts(r *Request, _ *Fields) ([][]byte, *Failure) {
	values, failure := parameters(borrow(r.Body))
	if failure != nil {
		return nil, failure
	}
	for _, list := range values {
		if len(list) > 1 {
			return nil, &Failure{Reason: ErrMalformed, note: "a form field is there twice"}
		}
	}
	delete(values, "sign")
	newer := []byte(joinSorted(values, "=", "&"))
	delete(values, "sign_type")
	return [][]byte{[]byte(joinSorted(values, "=", "&")), newer}, nil
}

// hubspotDecoded are the escapes that HubSpot undoes in the URL before signing.
var hubspotDecoded = strings.NewReplacer("%3A", ":", "%2F", "/", "%3F", "?", "%40", "@", "%21", "!", "%24", "$",
	"%27", "'", "%28", "(", "%29", ")", "%2A", "*", "%2C", ",", "%3B", ";",
	"%3a", ":", "%2f", "/", "%3f", "?", "%2a", "*", "%2c", ",", "%3b", ";")

// hubspotTexts signs method, URL, body and time.
func hubspotTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	text := func(address string) []byte {
		return []byte(r.Method + address + string(r.Body) + f.timestamp)
	}
	texts := [][]byte{text(hubspotDecoded.Replace(r.URL))}
	if raw := text(r.URL); string(raw) != string(texts[0]) {
		texts = append(texts, raw)
	}
	return texts, nil
}

// mercadopagoTexts signs the id in the query, the id of the request and the
// time, each only if it is there. The documentation lowers the case of the
// first, the library does not.
func mercadopagoTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	rest := ""
	if value, lines := r.header("X-Request-Id"); lines == 1 && value != "" {
		rest += "request-id:" + value + ";"
	}
	rest += "ts:" + f.timestamp + ";"
	id, ok := parameter(r.rawQuery(), "data.id")
	if !ok || id == "" {
		return [][]byte{[]byte(rest)}, nil
	}
	texts := [][]byte{[]byte("id:" + strings.ToLower(id) + ";" + rest)}
	if strings.ToLower(id) != id {
		texts = append(texts, []byte("id:"+id+";"+rest))
	}
	return texts, nil
}

// keygenTexts signs lines that are named beside the signature: the target, the
// digest of the body, which must be among them, and headers.
func keygenTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	list, _ := fieldValue(f.signature, "headers")
	if list == "" {
		list = "(request-target) digest"
	}
	var lines []string
	bound := 0
	for name := range strings.FieldsSeq(list) {
		switch name {
		case "(request-target)":
			lines = append(lines, name+": "+strings.ToLower(r.Method)+" "+r.uri())
			bound++
		case "digest":
			sum := sha256.Sum256(r.Body)
			lines = append(lines, name+": sha-256="+Base64.encode(sum[:]))
			bound++
		default:
			value, count := r.header(textproto.CanonicalMIMEHeaderKey(name))
			if count != 1 {
				return nil, &Failure{Reason: ErrMissing, note: "no header that is listed as signed, or several lines of it"}
			}
			lines = append(lines, name+": "+value)
		}
	}
	if bound != 2 {
		return nil, &Failure{Reason: ErrMalformed, note: "target and digest are not among what is signed"}
	}
	return [][]byte{[]byte(strings.Join(lines, "\n"))}, nil
}

// atlassianQuery is the hash of method, path and sorted query that tokens of
// Atlassian Connect claim.
func atlassianQuery(r *Request) ([]byte, bool) {
	values, failure := parameters(r.rawQuery())
	if failure != nil {
		return nil, false
	}
	delete(values, "jwt")
	var pairs []string
	for _, name := range sortedNames(values) {
		list := slices.Clone(values[name])
		slices.Sort(list)
		for i := range list {
			list[i] = escapeStrictly(list[i])
		}
		pairs = append(pairs, escapeStrictly(name)+"="+strings.Join(list, ","))
	}
	path, _, _ := strings.Cut(r.uri(), "?")
	path = strings.ReplaceAll(path, "&", "%26")
	return []byte(strings.ToUpper(r.Method) + "&" + path + "&" + strings.Join(pairs, "&")), true
}

// escapeStrictly escapes all but the unreserved characters of RFC 3986.
func escapeStrictly(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}
