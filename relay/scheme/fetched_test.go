// SPDX-License-Identifier: Apache-2.0

package scheme

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const topic = "arn:aws:sns:us-west-2:123456789012:MyTopic"

// certificate is that of the test key.
func certificate(t *testing.T) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Unix(4e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, testRSA().Public(), testRSA())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func signRSA(t *testing.T, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, testRSA(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

// notification is signed by the test key.
func notification(t *testing.T, topic, certURL string) *Request {
	text := "Message\nhi\nMessageId\nm-1\nTimestamp\n2025-06-15T15:06:40.000Z\nTopicArn\n" + topic + "\nType\nNotification\n"
	return post(fmt.Sprintf(`{"Type":"Notification","MessageId":"m-1","TopicArn":%q,"Message":"hi",
		"Timestamp":"2025-06-15T15:06:40.000Z","SignatureVersion":"2","Signature":%q,"SigningCertURL":%q}`, topic, signRSA(t, text), certURL))
}

type publisher struct {
	answers map[string][]byte
	err     error
	asked   int
}

func (k *publisher) fetch(_ context.Context, r KeyRequest) ([]byte, error) {
	k.asked++
	if k.err != nil {
		return nil, k.err
	}
	if text, ok := k.answers[r.URL]; ok {
		return text, nil
	}
	return nil, ErrNoKey
}

const goodCertificate = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem"

// snsService is a verifier of SNS and what it fetches its certificate from.
func snsService(t *testing.T) (*publisher, *Verifier) {
	t.Helper()
	service := &publisher{answers: map[string][]byte{goodCertificate: certificate(t)}}
	v, err := preset(t, "sns").CompileWith([][]byte{[]byte(topic)}, Options{Keys: NewKeyCache(service.fetch)})
	if err != nil {
		t.Fatal(err)
	}
	return service, v
}

func TestSNSFetchesItsCertificateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, v := snsService(t)
		for range 3 {
			got, err := v.Verify(notification(t, topic, goodCertificate), noon)
			if err != nil || got.EventID != "m-1" || got.Type != "Notification" || len(got.Identity) != 1 {
				t.Fatalf("%+v %v", got, err)
			}
		}
		if service.asked != 1 {
			t.Errorf("asked %d times", service.asked)
		}
		// A renewal that fails does not end the service.
		time.Sleep(keyLifetime + time.Minute)
		service.err = errors.New("down")
		v.options.Keys.Renew()
		if _, err := v.Verify(notification(t, topic, goodCertificate), noon); err != nil || service.asked != 2 {
			t.Errorf("after a failed renewal: %v, asked %d times", err, service.asked)
		}
	})
}

// The memory of a body is used for the next one.
func TestAddressOfAKeyOutlivesTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, v := snsService(t)
		r := notification(t, topic, goodCertificate)
		if _, err := v.Verify(r, noon); err != nil {
			t.Fatal(err)
		}
		clear(r.Body)
		if _, err := v.Verify(notification(t, topic, goodCertificate), noon); err != nil || service.asked != 1 {
			t.Errorf("%v, asked %d times", err, service.asked)
		}
	})
}

func TestSNSRefusesWhatIsNotItsTopicOrAmazons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, v := snsService(t)
		if _, err := v.Verify(notification(t, topic+"2", goodCertificate), noon); !errors.Is(err, ErrMismatch) {
			t.Errorf("another topic: %v", err)
		}
		for _, bad := range []string{
			"http://sns.us-west-2.amazonaws.com/a.pem", "https://sns.us-west-2.amazonaws.com.evil.com/a.pem",
			"https://evil.com/sns.us-west-2.amazonaws.com/a.pem", "https://sns.us-west-2.amazonaws.com@evil.com/a.pem",
			"https://sns.us-west-2.amazonaws.com/a.pem?x=.pem", "https://sns.us-west-2.amazonaws.com/../a.pem#.pem", "https://sns.us-west-2.amazonaws.com/a.pem\n",
		} {
			asked := service.asked
			if _, err := v.Verify(notification(t, topic, bad), noon); !errors.Is(err, ErrMismatch) || service.asked != asked {
				t.Errorf("%s: %v, asked %d times", bad, err, service.asked-asked)
			}
		}
		switched := notification(t, topic, goodCertificate)
		switched.Body = []byte(strings.Replace(string(switched.Body), `"SignatureVersion":"2"`, `"SignatureVersion":"1"`, 1))
		if _, err := v.Verify(switched, noon); err == nil {
			t.Error("version 2 taken for 1")
		}
	})
}

func TestKeyServiceTroubleIs503AndAnUnknownKey401(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := &publisher{err: errors.New("connection refused")}
		v, err := preset(t, "sns").CompileWith([][]byte{[]byte(topic)}, Options{Keys: NewKeyCache(service.fetch)})
		if err != nil {
			t.Fatal(err)
		}
		const address = "https://sns.us-west-2.amazonaws.com/x.pem"
		for range 5 {
			_, err = v.Verify(notification(t, topic, address), noon)
			if f := reasonOf(t, err); !errors.Is(err, ErrUnavailable) || f.Status() != 503 {
				t.Fatal(err)
			}
		}
		if service.asked != 1 {
			t.Errorf("asked %d times within a minute", service.asked)
		}
		time.Sleep(hostInterval)
		service.err = nil
		_, err = v.Verify(notification(t, topic, address), noon)
		if f := reasonOf(t, err); !errors.Is(err, ErrMismatch) || f.Status() != 401 {
			t.Fatal(err)
		}
	})
}

func TestSNSConfirmsOnlyAtAmazon(t *testing.T) {
	v, err := preset(t, "sns").Compile([][]byte{[]byte(topic), certificate(t)})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(subscribe string) *Request {
		text := "Message\nhi\nMessageId\nm-1\nSubscribeURL\n" + subscribe + "\nTimestamp\nT\nToken\nabc\nTopicArn\n" + topic + "\nType\nSubscriptionConfirmation\n"
		return post(fmt.Sprintf(`{"Type":"SubscriptionConfirmation","MessageId":"m-1","TopicArn":%q,"Message":"hi","Token":"abc","SubscribeURL":%q,
			"Timestamp":"T","SignatureVersion":"2","Signature":%q,"SigningCertURL":"x"}`, topic, subscribe, signRSA(t, text)))
	}
	const good = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:1:T&Token=2336412f37"
	if a, err := v.Handshake(ask(good), noon); err != nil || a == nil || a.Visit != good {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := v.Handshake(ask("http://169.254.169.254/?a"), noon); !errors.Is(err, ErrMalformed) || a.Visit != "" {
		t.Errorf("%+v %v", a, err)
	}
	forged := ask(good)
	forged.Body = []byte(strings.Replace(string(forged.Body), "2336412f37", "2336412f38", 1))
	if a, err := v.Handshake(forged, noon); !errors.Is(err, ErrMismatch) || a.Visit != "" {
		t.Errorf("%+v %v", a, err)
	}
}

func TestPayPal(t *testing.T) {
	v, err := preset(t, "paypal").Compile([][]byte{[]byte("WH-0"), []byte("WH-1"), certificate(t)})
	if err != nil {
		t.Fatal(err)
	}
	r := post(`{"id":"WH-EVENT","event_type":"PAYMENT.CAPTURE.COMPLETED"}`)
	text := fmt.Sprintf("tid|2025-06-15T15:06:40Z|WH-1|%d", crc32.ChecksumIEEE(r.Body))
	for name, value := range map[string]string{
		"Paypal-Transmission-Id": "tid", "Paypal-Transmission-Time": "2025-06-15T15:06:40Z", "Paypal-Transmission-Sig": signRSA(t, text),
		"Paypal-Auth-Algo": "SHA256withRSA", "Paypal-Cert-Url": "https://api.paypal.com/v1/notifications/certs/CERT-1",
	} {
		r.Header.Set(name, value)
	}
	got, err := v.Verify(r, noon)
	if err != nil || got.Secret != 1 || got.EventID != "WH-EVENT" {
		t.Fatalf("%+v %v", got, err)
	}
	r.Header.Set("Paypal-Transmission-Id", "other")
	if _, err := v.Verify(r, noon); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
}

func TestAlipaySignsEverythingButTheSignature(t *testing.T) {
	v := exampleVerifier(t, preset(t, "alipay"))
	for _, text := range []string{"amount=1.00&notify_id=n1&subject=a b&c", "amount=1.00&notify_id=n1&sign_type=RSA2&subject=a b&c"} {
		form := url.Values{"amount": {"1.00"}, "notify_id": {"n1"}, "subject": {"a b&c"}, "sign_type": {"RSA2"}}
		form.Set("sign", signRSA(t, text))
		got, err := v.Verify(post(form.Encode()), noon)
		if err != nil || got.EventID != "n1" {
			t.Fatalf("%+v %v", got, err)
		}
		form.Set("amount", "2.00")
		if _, err := v.Verify(post(form.Encode()), noon); !errors.Is(err, ErrMismatch) {
			t.Error(err)
		}
	}
}

func TestConstantContactSignsHeaderAndBody(t *testing.T) {
	v := exampleVerifier(t, preset(t, "constantcontact"))
	const body = `{"event":"x"}`
	protected := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","b64":false,"crit":["b64"]}`))
	raw, err := base64.StdEncoding.DecodeString(signRSA(t, protected+"."+body))
	if err != nil {
		t.Fatal(err)
	}
	signature := base64.RawURLEncoding.EncodeToString(raw)
	for header, want := range map[string]error{
		protected + ".." + signature:       nil,
		protected + "x.." + signature:      ErrMismatch,
		protected + "." + body + signature: ErrMalformed,
		protected + ".x." + signature:      ErrMalformed,
		protected + ".." + signature + ".": ErrMalformed,
		protected + ".." + signature[:10]:  ErrMalformed,
	} {
		r := post(body)
		r.Header.Set("X-CTCT-WEBHOOK-SIG", header)
		if _, err := v.Verify(r, noon); !errors.Is(err, want) {
			t.Errorf("%s: %v, expected %v", header, err, want)
		}
	}
}

func TestKeygenBindsTargetAndBody(t *testing.T) {
	v := exampleVerifier(t, preset(t, "keygen"))
	r := signed(t, v, post("{}"), "", noon)
	r.Header.Set("Keygen-Signature", r.Header.Get("Keygen-Signature")+`, headers="(request-target) host"`)
	if _, err := v.Verify(r, noon); !errors.Is(err, ErrMalformed) {
		t.Errorf("without the body: %v", err)
	}
	r = signed(t, v, post("{}"), "", noon)
	r.URL += "x"
	if _, err := v.Verify(r, noon); !errors.Is(err, ErrMismatch) {
		t.Errorf("another target: %v", err)
	}
}
