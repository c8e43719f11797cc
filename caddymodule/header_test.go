// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

func TestP7_EndToEndHeadersAreKeptAndOthersAreNot(t *testing.T) {
	in := http.Header{
		"Stripe-Signature":  {"t=1,v1=aa"},
		"Content-Type":      {"application/json"},
		"Accept":            {"a", "b"},
		"Connection":        {"close, X-Hop", "x-other"},
		"X-Hop":             {"1"},
		"X-Other":           {"1"},
		"Content-Length":    {"3"},
		"Transfer-Encoding": {"chunked"},
		"Te":                {"trailers"},
		"Trailer":           {"X"},
		"Expect":            {"100-continue"},
		"Upgrade":           {"h2c"},
		"Http2-Settings":    {"x"},
		"Keep-Alive":        {"5"},
		"Incremental":       {"?1"},
		"Proxy-Anything":    {"x"},
		"Forwarded":         {"for=1"},
		"X-Forwarded-For":   {"1.2.3.4"},
		"Relay-Verified":    {"stripe"},
		"X-Secret":          {"drop me"},
	}
	before := in.Clone()
	drop := []string{"X-Secret"}
	want := http.Header{"Stripe-Signature": {"t=1,v1=aa"}, "Content-Type": {"application/json"}, "Accept": {"a", "b"}}
	if got := captureHeader(in, false, drop, 0); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("kept %v, want %v", got, want)
	}
	want["Forwarded"], want["X-Forwarded-For"] = []string{"for=1"}, []string{"1.2.3.4"}
	if got := captureHeader(in, true, drop, 0); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("behind a trusted proxy kept %v, want %v", got, want)
	}
	if !maps.EqualFunc(in, before, slices.Equal) {
		t.Error("the request's own headers were changed")
	}
}

func TestP7_HeadersOfManyLinesAreKeptBesideOthers(t *testing.T) {
	in := http.Header{"A": {"1"}, "B": {"2", "3", "4", "5", "6", "7"}, "C": {"8", "9"}, "D": {"10"}}
	got := captureHeader(in, false, nil, 0)
	if !maps.EqualFunc(got, in, slices.Equal) {
		t.Errorf("kept %v of %v", got, in)
	}
	for name := range got {
		got[name] = append(got[name], "more")
		got[name][0] = "other"
	}
	for name, values := range in {
		want := append([]string{"other"}, values[1:]...)
		if kept := got[name]; !slices.Equal(kept, append(want, "more")) || values[0] == "other" {
			t.Errorf("%s is %v after changes, and was %v", name, kept, values)
		}
	}
}

func FuzzF7_HeaderFilter(f *testing.F) {
	f.Add("X-A", "v", "close, x-a", false)
	f.Add("relay-id", "v", "", true)
	f.Add("X\r\nB", "v\r\nC: d", "keep-alive", false)
	f.Add("Transfer-Encoding", "chunked", ",,", true)
	f.Add("0", "0", "0      \f", true)
	f.Fuzz(func(t *testing.T, name, value, connection string, forwarding bool) {
		in := http.Header{"Connection": {connection}, textproto.CanonicalMIMEHeaderKey(name): {value}, "X-Kept": {"1"}}
		once := captureHeader(in, forwarding, nil, 0)
		for kept, values := range once {
			lower := strings.ToLower(kept)
			if slices.Contains([]string{"connection", "content-length", "te", "trailer", "transfer-encoding", "expect", "upgrade", "keep-alive"}, lower) ||
				strings.HasPrefix(lower, "proxy-") || strings.HasPrefix(lower, "relay-") ||
				!forwarding && (lower == "forwarded" || strings.HasPrefix(lower, "x-forwarded-")) {
				t.Errorf("%q survives", kept)
			}
			for named := range strings.SplitSeq(connection, ",") {
				if strings.EqualFold(strings.TrimSpace(named), kept) {
					t.Errorf("%q survives though Connection names it", kept)
				}
			}
			for _, v := range values {
				if !httpguts.ValidHeaderFieldName(kept) || !httpguts.ValidHeaderFieldValue(v) {
					t.Errorf("%q: %q can not be sent", kept, v)
				}
			}
		}
		if twice := captureHeader(once, forwarding, nil, 0); !maps.EqualFunc(once, twice, slices.Equal) {
			t.Errorf("filtering again changes %v to %v", once, twice)
		}
	})
}
