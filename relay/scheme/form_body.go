// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/tidwall/gjson"
)

// adyenSigned are the values of an item that Adyen signs.
var adyenSigned = []string{
	"pspReference", "originalReference", "merchantAccountCode", "merchantReference",
	"amount.value", "amount.currency", "eventCode", "success",
}

// adyenItems takes each item of a notification with its signature.
func adyenItems(r *Request) ([]item, *Failure) {
	if !unambiguous(r.Body) {
		return nil, ambiguous()
	}
	var items []item
	gjson.GetBytes(r.Body, "notificationItems").ForEach(func(_, element gjson.Result) bool {
		notification := element.Get("NotificationRequestItem")
		values := make([]string, len(adyenSigned))
		for i, path := range adyenSigned {
			values[i] = notification.Get(path).String()
		}
		items = append(items, item{notification.Get("additionalData.hmacSignature").String(), []byte(strings.Join(values, ":"))})
		return len(items) <= maxItems
	})
	return items, nil
}

func ambiguous() *Failure {
	return &Failure{Reason: ErrMalformed, note: "the body is not JSON, or has a key twice"}
}

// graphItems takes the client state of each notification.
func graphItems(r *Request) ([]item, *Failure) {
	if !gjson.ValidBytes(r.Body) {
		return nil, &Failure{Reason: ErrMalformed, note: "the body is not JSON"}
	}
	var items []item
	gjson.GetBytes(r.Body, "value").ForEach(func(_, element gjson.Result) bool {
		items = append(items, item{signature: element.Get("clientState").String()})
		return len(items) <= maxItems
	})
	return items, nil
}

// boxTexts signs body and time, the body in ASCII: where it came in UTF-8 the
// provider may have signed it escaped, slashes too.
func boxTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	plain := append(bytes.Clone(r.Body), f.timestamp...)
	if i := bytes.IndexFunc(r.Body, func(c rune) bool { return c > 0x7e }); i < 0 {
		return [][]byte{plain}, nil
	}
	escaped := escapeASCII(string(r.Body))
	slashes := strings.ReplaceAll(escaped, "/", `\/`)
	return [][]byte{plain, []byte(escaped + f.timestamp), []byte(slashes + f.timestamp)}, nil
}

func escapeASCII(text string) string {
	var b strings.Builder
	for _, c := range text {
		if c <= 0x7e {
			b.WriteRune(c)
			continue
		}
		for _, unit := range utf16.Encode([]rune{c}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// braintreeChallenge is what Braintree's handshake signs with the key of its
// payloads. No payload looks like it, so an answer to the handshake can never
// pass for a signed payload.
var braintreeChallenge = regexp.MustCompile(`^[0-9a-f]{20,32}$`)

// braintreeTexts signs the payload as it is, its line end included.
func braintreeTexts(r *Request, _ *Fields) ([][]byte, *Failure) {
	payload, ok := parameter(borrow(r.Body), "bt_payload")
	if !ok {
		return nil, &Failure{Reason: ErrMissing, note: "no form field bt_payload"}
	}
	if braintreeChallenge.MatchString(strings.TrimSpace(payload)) {
		return nil, &Failure{Reason: ErrMismatch, note: "bt_payload is a challenge"}
	}
	return [][]byte{[]byte(payload)}, nil
}

var braintreeElement = regexp.MustCompile(`<kind>([a-z_]{1,64})</kind>`)

// braintreeKind reads the kind out of the payload, which is XML in base64.
func braintreeKind(r *Request) string {
	payload, _ := parameter(borrow(r.Body), "bt_payload")
	text, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(payload), ""))
	if err != nil {
		return ""
	}
	if found := braintreeElement.FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return ""
}

// contentfulTexts signs method, path, the headers that one of them lists, and body.
func contentfulTexts(r *Request, _ *Fields) ([][]byte, *Failure) {
	const listing = "X-Contentful-Signed-Headers"
	list, lines := r.header(listing)
	if lines != 1 || len(list) > maxHeader {
		return nil, lacking(&part{kind: headerPart, name: listing}, r)
	}
	names := strings.Split(strings.ToLower(list), ",")
	for _, needed := range []string{"x-contentful-timestamp", "x-contentful-signed-headers"} {
		if !slices.Contains(names, needed) {
			names = append(names, needed)
		}
	}
	slices.Sort(names)
	var headers []string
	for _, name := range slices.Compact(names) {
		value, lines := r.header(textproto.CanonicalMIMEHeaderKey(name))
		if lines > 1 {
			return nil, &Failure{Reason: ErrMalformed, note: "several lines of a signed header"}
		}
		if lines == 1 {
			headers = append(headers, name+":"+strings.TrimSpace(value))
		}
	}
	path, query, _ := strings.Cut(r.uri(), "?")
	// The library takes what is between the first two question marks.
	if query, _, _ = strings.Cut(query, "?"); query != "" {
		path += "?" + escapeQuery(query)
	}
	path = escapeURI(path)
	text := r.Method + "\n" + path + "\n" + strings.Join(headers, ";") + "\n" + string(r.Body)
	return [][]byte{[]byte(text)}, nil
}

// escapeQuery is querystring.escape of Node.
func escapeQuery(text string) string {
	return strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").
		Replace(url.QueryEscape(text))
}

// escapeURI is encodeURI of JavaScript, which escapes percent signs as well.
func escapeURI(text string) string {
	const kept = ";,/?:@&=+$-_.!~*'()#"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte(kept, c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// hygraphTexts signs a JSON object of body, environment and time, written as
// JavaScript writes it.
func hygraphTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	environment, _ := fieldValue(f.signature, "env")
	var b bytes.Buffer
	b.WriteString(`{"Body":`)
	b.WriteString(scriptString(string(r.Body)))
	b.WriteString(`,"EnvironmentName":`)
	b.WriteString(scriptString(environment))
	b.WriteString(`,"TimeStamp":` + f.timestamp + `}`)
	return [][]byte{b.Bytes()}, nil
}

// scriptString is JSON.stringify of a string: unlike Go's it escapes neither
// HTML nor the line separators.
func scriptString(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(text) != nil {
		return `""`
	}
	return strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029", `\\`, `\\`).
		Replace(strings.TrimSuffix(b.String(), "\n"))
}

// hook0Texts signs the time, the names and values of headers, and the body.
func hook0Texts(r *Request, f *Fields) ([][]byte, *Failure) {
	names, _ := fieldValue(f.signature, "h")
	var values []string
	for name := range strings.FieldsSeq(names) {
		value, lines := r.header(textproto.CanonicalMIMEHeaderKey(name))
		if lines != 1 {
			return nil, &Failure{Reason: ErrMissing, note: "no header that is listed as signed, or several lines of it"}
		}
		values = append(values, value)
	}
	text := f.timestamp + "." + names + "." + strings.Join(values, ".") + "."
	return [][]byte{append([]byte(text), r.Body...)}, nil
}

// paypalTexts signs the id of the transmission, the time, the webhook's id,
// which is the secret, and a checksum of the body.
func paypalTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	const name = "Paypal-Transmission-Id"
	id, lines := r.header(name)
	if lines != 1 {
		return nil, lacking(&part{kind: headerPart, name: name}, r)
	}
	sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(r.Body)), 10)
	return [][]byte{[]byte(id + "|" + f.timestamp + "|" + string(f.secret) + "|" + sum)}, nil
}

// snsKeys are the values that SNS signs, in order, by type of message.
var snsKeys = map[string][]string{
	"Notification":             {"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"},
	"SubscriptionConfirmation": {"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"},
	"UnsubscribeConfirmation":  {"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"},
}

// snsTexts signs names and values, one a line. The topic must be the one that
// is configured: anyone can have SNS sign for a topic of his own.
func snsTexts(r *Request, f *Fields) ([][]byte, *Failure) {
	if !unambiguous(r.Body) {
		return nil, ambiguous()
	}
	value := func(name string) (string, bool) {
		found := gjson.Get(borrow(r.Body), name)
		return found.Str, found.Type == gjson.String
	}
	if topic, _ := value("TopicArn"); topic != string(f.secret) {
		return nil, &Failure{Reason: ErrMismatch, note: "TopicArn is not one of the configured topics"}
	}
	kind, _ := value("Type")
	keys, known := snsKeys[kind]
	if !known {
		return nil, &Failure{Reason: ErrMalformed, note: "Type is none of SNS"}
	}
	var b strings.Builder
	for _, name := range keys {
		text, ok := value(name)
		if !ok {
			if name == "Subject" {
				continue
			}
			return nil, &Failure{Reason: ErrMissing, note: "no " + name + " in the body"}
		}
		b.WriteString(name + "\n" + text + "\n")
	}
	return [][]byte{[]byte(b.String())}, nil
}
