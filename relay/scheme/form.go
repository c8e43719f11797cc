// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"maps"
	"slices"
)

// form is a signed text that no template expresses.
type form struct {
	// covers is a template of what the text is made of.
	covers string
	// fields are the elements of the signature header that the text uses.
	fields []string
	// texts makes the texts that the provider may have signed, the likeliest first.
	texts func(r *Request, f *Fields) ([][]byte, *Failure)
	// items takes a body apart whose every element carries a signature of its own.
	items func(r *Request) ([]item, *Failure)
	// kind finds the event type where no template can, or gives "".
	kind func(r *Request) string
}

// item is one signed element of a body.
type item struct {
	signature string
	text      []byte
}

// forms holds the canonical forms by name.
var forms = map[string]*form{
	"adyen-items":        {covers: body, items: adyenItems},
	"alipay":             {covers: body, texts: alipayTexts},
	"box":                {covers: body + ts, texts: boxTexts},
	"braintree":          {covers: body, texts: braintreeTexts, kind: braintreeKind},
	"contentful":         {covers: "{http.request.method}{http.request.uri}" + body + ts, texts: contentfulTexts},
	"hook0":              {covers: body + ts, fields: []string{"h"}, texts: hook0Texts},
	"hubspot-v3":         {covers: "{http.request.method}{http.relay.url}" + body + ts, texts: hubspotTexts},
	"hygraph":            {covers: body + ts, fields: []string{"env"}, texts: hygraphTexts},
	"keygen":             {covers: "{http.request.method}{http.request.host}{http.request.uri}" + body, fields: []string{"headers"}, texts: keygenTexts},
	"mandrill":           {covers: body + "{http.relay.url}", texts: mandrillTexts},
	"mercadopago":        {covers: "{http.request.uri.query.data.id}{http.request.header.X-Request-Id}" + ts, texts: mercadopagoTexts},
	"messagebird-legacy": {covers: body + ts, texts: messagebirdTexts},
	"msgraph":            {covers: body, items: graphItems},
	// A checksum of the body is signed, which another body can have as well.
	"paypal":   {covers: header("Paypal-Transmission-Id") + ts, texts: paypalTexts},
	"plivo-v3": {covers: body + "{http.relay.url}", texts: plivoTexts},
	"sns":      {covers: body, texts: snsTexts},
	"twilio":   {covers: body + "{http.relay.url}", texts: twilioTexts},
}

// CanonicalForms lists the names that [Proof] takes as Canonical, sorted.
func CanonicalForms() []string { return slices.Sorted(maps.Keys(forms)) }

// maxItems is how many signed elements a body may have.
const maxItems = 1000

// verifyItems checks every element, and one that is wrong makes the request so.
func (p *proof) verifyItems(r *Request, s *scratch) (checked, *Failure) {
	items, failure := p.form.items(r)
	if failure != nil {
		return checked{}, failure
	}
	if len(items) == 0 {
		return checked{}, &Failure{Reason: ErrMissing, note: "no signed element in the body"}
	}
	if len(items) > maxItems {
		return checked{}, &Failure{Reason: ErrMalformed, note: "too many signed elements in the body"}
	}
	var result checked
	for _, element := range items {
		s.found = append(s.found[:0], candidate{text: element.signature})
		s.message = message{text: element.text, request: r}
		if result.secret, failure = p.match(p.keys, s); failure != nil {
			return checked{}, failure
		}
	}
	return result, nil
}
