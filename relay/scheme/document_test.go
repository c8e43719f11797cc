// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var updateDocument = flag.Bool("update", false, "write docs/schemes.md from the table of presets")

const documentFile = "../../docs/schemes.md"

// TestSchemesDocumentIsThatOfTheTable compares docs/schemes.md with what is generated from the presets.
func TestSchemesDocumentIsThatOfTheTable(t *testing.T) {
	got := document(t)
	if *updateDocument {
		if err := os.WriteFile(documentFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
	if string(want) != got {
		line := 0
		theirs := strings.Split(string(want), "\n")
		ours := strings.Split(got, "\n")
		for line < min(len(theirs), len(ours)) && theirs[line] == ours[line] {
			line++
		}
		t.Errorf("docs/schemes.md differs from the table at line %d; run go test ./relay/scheme -run SchemesDocument -update", line+1)
	}
}

// class is how much a scheme proves, and the anchor of its part of the list.
func (s *Scheme) class() string {
	signsBody := func(p *Proof) bool {
		c, err := compileProof(p)
		return err == nil && c.message.first(bodyPart) != nil
	}
	switch {
	case s.Algorithm == Token:
		return "authenticated"
	case !signsBody(&s.Proof):
		return "signed, without the body"
	default:
		return "signed"
	}
}

func document(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	counts := make(map[string]int)
	var urls, tokens, learns []string
	for _, name := range Names() {
		s := preset(t, name)
		counts[s.class()]++
		if needsURL(s) {
			urls = append(urls, "`"+name+"`")
		}
		if s.NeedsToken() {
			tokens = append(tokens, "`"+name+"`")
		}
		if s.Learns() {
			learns = append(learns, "`"+name+"`")
		}
	}
	fmt.Fprintf(&b, documentHead, len(Names()), counts["signed"], counts["signed, without the body"], counts["authenticated"],
		strings.Join(urls, ", "), strings.Join(tokens, ", "), strings.Join(learns, ", "))
	b.WriteString("| Name | Provider | Proof | Retries |\n| --- | --- | --- | --- |\n")
	for _, name := range Names() {
		s := preset(t, name)
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", name, name, s.Title, s.class(), yesNo(s.Retries()))
	}
	vectors := countVectors(t)
	for _, name := range Names() {
		writeScheme(&b, preset(t, name), vectors[name])
	}
	return b.String()
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// checks are the requests of a provider that its preset is checked with.
type checks struct{ official, others int }

func countVectors(t testing.TB) map[string]checks {
	// The requests of published_test.go.
	counts := map[string]checks{"box": {official: 7}, "sanity": {official: 7}}
	for _, v := range readVectors(t) {
		s, ok := v.preset()
		if !ok {
			continue
		}
		c := counts[s.Name]
		if strings.HasPrefix(v.Kind, "official-") || v.Kind == "sdk-generated" {
			c.official++
		} else {
			c.others++
		}
		counts[s.Name] = c
	}
	return counts
}

// writeScheme writes the part of one preset.
func writeScheme(b *strings.Builder, s *Scheme, checked checks) {
	fmt.Fprintf(b, "\n### %s\n\n%s", s.Name, s.Title)
	if len(s.Aliases) > 0 {
		fmt.Fprintf(b, "; also called `%s`", strings.Join(s.Aliases, "`, `"))
	}
	fmt.Fprintf(b, ".\n\n```caddyfile\n%s```\n\n", caddyfile(s))
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(b, "- **%s**: %s\n", name, text)
		}
	}
	row("Secret", strings.ReplaceAll(s.Secret, "<", `\<`))
	row("Proof", s.class()+": "+describeProof(&s.Proof))
	for i := range s.Also {
		row("Or", describeProof(&s.Also[i]))
	}
	row("Keys", describeKeys(&s.Proof))
	row("Time", describeTime(&s.Proof))
	if s.Sealed != "" {
		row("Encrypted", "what is in `"+plainText(s.Sealed)+"`, with the secret; handshakes, event id and type are read in it, and the app gets it as it came")
	}
	row("Dedupe key", describeIdentity(s))
	row("Event type", cmp.Or(names(s.Type), "none"))
	row("Answer", describeAnswer(s))
	row("Retries", describeRetries(s))
	row("Handshake", describeHandshakes(s))
	if s.MaxBody > 0 {
		row("Largest body", fmt.Sprintf("%d MiB", s.MaxBody>>20))
	}
	if len(s.Methods) > 0 {
		row("Methods", "`POST`, `"+strings.Join(s.Methods, "`, `")+"`")
	}
	switch {
	case checked.official > 0:
		row("Checked with", fmt.Sprintf("%d requests of the provider's documentation or library", checked.official+checked.others))
	case checked.others > 0:
		row("Checked with", fmt.Sprintf("%d requests of other projects' tests", checked.others))
	default:
		row("Checked with", "its description alone, and requests signed here")
	}
}

// caddyfile is what a relay says to verify with the preset.
func caddyfile(s *Scheme) string {
	file := func(what string) string { return "{file./etc/caddy/" + s.Name + "." + what + "}" }
	secrets := file("secret")
	if len(s.Signature.More) > 0 {
		secrets = file("secret") + " " + file("second_secret")
	}
	var block strings.Builder
	if s.NeedsToken() {
		block.WriteString("\ttoken " + file("token") + "\n")
	}
	if s.Keyless() {
		secrets = ""
		if s.KeyService.URL == "" {
			block.WriteString("\tkey_service https://example." + s.Name + ".com/.well-known/jwks\n")
		}
	}
	if s.Learns() {
		secrets = ""
		block.WriteString("\texpect_secret\n")
	}
	text := strings.TrimSpace("verify " + s.Name + " " + secrets)
	if block.Len() > 0 {
		text += " {\n" + block.String() + "}"
	}
	if needsURL(s) {
		text = "public_url https://hooks.example.com\n" + text
	}
	return text + "\n"
}

// needsURL reports whether a proxy before the relay changes what the provider signs or asks for.
func needsURL(s *Scheme) bool {
	return s.CoversURL() || slices.ContainsFunc(s.Handshakes, func(h Handshake) bool { return h.Compute == "ebay" })
}

// algorithms are what people call them.
var algorithms = map[Algorithm]string{
	HMACSHA1: "HMAC-SHA1", HMACSHA256: "HMAC-SHA256", HMACSHA384: "HMAC-SHA384", HMACSHA512: "HMAC-SHA512", DigestSHA256: "SHA-256 of a text with the secret",
	Ed25519: "Ed25519", ECDSASHA256: "ECDSA P-256 with SHA-256", ECDSASHA1: "ECDSA with SHA-1",
	RSASHA256: "RSA with SHA-256", RSASHA1: "RSA with SHA-1", Token: "a fixed text",
}

// canonicalWords say what the canonical forms are made of.
var canonicalWords = map[string]string{
	"adyen-items":        "eight values of each notification, every one of which must verify",
	"alipay":             "the sorted form fields but `sign`",
	"box":                "body and time, a body in UTF-8 also escaped to ASCII",
	"braintree":          "the form field `bt_payload`",
	"contentful":         "method, path, the headers that it lists, and body",
	"hook0":              "time, the headers that it lists, and body",
	"hubspot-v3":         "method, URL, body and time",
	"hygraph":            "a JSON object of body, environment and time",
	"keygen":             "method, path, host, date and digest of the body",
	"mandrill":           "URL and sorted form fields",
	"mercadopago":        "`data.id` of the query, `X-Request-Id` and time",
	"messagebird-legacy": "time, sorted query and digest of the body",
	"msgraph":            "nothing: it is `clientState`, which every element must have",
	"paypal":             "`Paypal-Transmission-Id`, time, webhook id and CRC-32 of the body",
	"plivo-v3":           "URL, sorted parameters and nonce",
	"sns":                "the values of the message, sorted by name",
	"twilio":             "URL and sorted form fields, or URL and digest of the body",
}

// describeProof says how a request is signed.
func describeProof(p *Proof) string {
	where := describePlace(&p.Signature)
	switch {
	case p.JWT != nil:
		covers := "nothing of the request"
		if text := p.JWT.covers(); text != "" {
			covers = "`" + plainText(text) + "`"
		}
		return fmt.Sprintf("a JSON Web Token (%s) in %s; it covers %s", strings.Join(p.JWT.Algorithms, ", "), where, covers)
	case p.Signature.Prefix == "Basic ":
		return "HTTP basic authentication"
	case p.Algorithm == Token:
		return algorithms[Token] + " in " + where
	}
	over := "`" + cmp.Or(plainText(p.Message), "<body>") + "`"
	if p.Canonical != "" {
		over = canonicalWords[p.Canonical]
	}
	return fmt.Sprintf("%s, %s, in %s, over %s", algorithms[p.Algorithm], cmp.Or(p.Signature.Encoding, Hex), where, over)
}

// describeKeys says where the keys come from that are fetched.
func describeKeys(p *Proof) string {
	switch {
	case p.KeyURL != nil:
		return "fetched from the address in `" + plainText(p.KeyURL.Value) + "`, at the provider's hosts alone"
	case p.KeyService == nil:
		return ""
	case p.KeyService.URL == "":
		return "fetched from the address that `key_service` names, unless one is pinned"
	default:
		return "fetched from `" + p.KeyService.URL + "`, unless one is pinned; `key_service` may name another address"
	}
}

// describePlace says where a signature is.
func describePlace(s *Signature) string {
	shape := s.Prefix
	switch s.Format {
	case KeyValue:
		shape = s.Tag + "=" + s.Prefix
	case Tagged:
		shape = s.Tag + ","
	}
	if shape = strings.TrimSpace(shape); shape != "" {
		shape = " behind `" + shape + "`"
	}
	switch {
	case s.Header != "":
		return "`" + s.Header + "`" + shape
	case s.Whole:
		return "the body, which it is"
	case s.Body != "":
		return "the body's `" + s.Body + "`" + shape
	case s.Form != "":
		return "the form field `" + s.Form + "`" + shape
	default:
		return "the query parameter `" + s.Query + "`" + shape
	}
}

var (
	placeholders = regexp.MustCompile(`\{http\.(?:request|relay)\.([^}]+)\}`)
	longNames    = strings.NewReplacer("timestamp", "time", "uri.query.", "?", "header.", "", "signature.", "", "url.base", "URL without query", "url", "URL", "uri", "path and query")
)

// plainText is a template without the length of its placeholders.
func plainText(template string) string {
	return strings.ReplaceAll(placeholders.ReplaceAllStringFunc(template, func(text string) string {
		name := placeholders.FindStringSubmatch(text)[1]
		if rest, ok := strings.CutPrefix(name, "header."); ok {
			return "<" + rest + ">"
		}
		if strings.HasPrefix(name, "body.") || strings.HasPrefix(name, "form.") {
			return "<" + name + ">"
		}
		return "<" + longNames.Replace(name) + ">"
	}), "\n", `\n`)
}

// names says where a value is, the first place that has one counting.
func names(templates []string) string {
	places := make([]string, len(templates))
	for i, text := range templates {
		places[i] = "`" + plainText(text) + "`"
	}
	return strings.Join(places, ", else ")
}

func describeTime(p *Proof) string {
	switch {
	case p.JWT != nil && p.JWT.MaxAge > 0:
		return "signed; at most " + short(time.Duration(p.JWT.MaxAge)) + " away"
	case p.JWT != nil:
		return "that of the token, if it has one"
	case p.Timestamp == nil:
		return "not signed"
	}
	limit, enforced := p.Timestamp.tolerance()
	text := "`" + plainText(p.Timestamp.Value) + "`, signed; "
	switch {
	case !enforced:
		return text + "not limited, as the provider's retries repeat it or its libraries do not look at it"
	case p.Timestamp.NoFuture:
		return text + "at most " + short(limit) + " old, and not in the future"
	default:
		return text + "at most " + short(limit) + " away"
	}
}

func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// describeIdentity says what makes two requests the same event.
func describeIdentity(s *Scheme) string {
	if s.Unidentified != "" {
		return "none (" + s.Unidentified + "); `dedupe` may name one"
	}
	identity, err := compileIdentity(s)
	if err != nil {
		return err.Error()
	}
	parts := make([]string, 0, len(identity.keys)+1)
	signed := true
	for _, p := range s.proofs() {
		c, err := compileProof(p)
		if err != nil {
			return err.Error()
		}
		c.noteSigned(identity)
		signed = signed && c.keysSigned && (!identity.named || !slices.Contains(c.idSigned, false))
		signed = signed && (!identity.namesType() || !slices.Contains(c.typeSigned, false))
	}
	for _, key := range identity.keys {
		if key.only(eventIDPart) != nil {
			ids := names(s.EventID)
			if len(s.EventID) > 1 && (len(identity.keys) > 1 || identity.body || !signed && !identity.alone) {
				ids = "(" + ids + ")"
			}
			parts = append(parts, ids)
			continue
		}
		parts = append(parts, "`"+plainText(key.String())+"`")
	}
	if identity.body || !signed && !identity.alone {
		parts = append(parts, "type and SHA-256 of the body")
	}
	return strings.Join(parts, " + ")
}

func describeAnswer(s *Scheme) string {
	status, body := http.StatusOK, "without a body"
	if r := s.Response; r != nil {
		status = cmp.Or(r.Status, status)
		if r.Body != "" {
			body = "with `" + r.Body + "`"
		}
	}
	text := fmt.Sprintf("%d %s", status, body)
	if s.RejectStatus != 0 {
		text += fmt.Sprintf("; %d to what is not signed", s.RejectStatus)
	}
	return text
}

func describeRetries(s *Scheme) string {
	if s.Retries() {
		return "yes"
	}
	return "no: a repeat is a person or a script, and is delivered again"
}

func describeHandshakes(s *Scheme) string {
	all := make([]string, len(s.Handshakes))
	for i := range s.Handshakes {
		h := &s.Handshakes[i]
		text := "`" + cmp.Or(h.Method, http.MethodPost) + "`"
		for n, when := range slices.Sorted(maps.Keys(h.When)) {
			text += []string{" with ", " and "}[min(n, 1)] + "`" + plainText(when) + "`"
			if value := h.When[when]; value != "" {
				text += " = `" + value + "`"
			}
		}
		if h.Signed {
			text += ", signed"
		}
		if h.Learn {
			text += ", which brings the secret"
		}
		if h.Visit {
			text += ", whose address is then visited"
		}
		all[i] = text
	}
	return strings.Join(all, "; ")
}
